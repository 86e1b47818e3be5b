// SPDX-License-Identifier: MIT
#include "stream.hpp"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "device.hpp"

namespace lora_emu {

namespace {

/// What is alive, so that a handle used after its end is an error and not a crash.
template <class T>
std::set<T*>& alive() {
  static auto* const instance = new std::set<T*>;
  return *instance;
}

std::vector<std::unique_ptr<Capture>>& captures() {
  static auto* const instance = new std::vector<std::unique_ptr<Capture>>;
  return *instance;
}

template <class T>
bool is_alive(T* handle) {
  return alive<T>().contains(handle);
}

bool is_stream(cudaStream_t stream) { return !stream || is_alive(stream); }

template <class T>
cudaError_t create(T** handle) {
  const ApiLock lock;
  if (device().failure != cudaSuccess) return remember(device().failure);
  *handle = new T;
  alive<T>().insert(*handle);
  return cudaSuccess;
}

template <class T>
cudaError_t destroy(T* handle) {
  const ApiLock lock;
  if (alive<T>().erase(handle) == 0) return remember(cudaErrorInvalidResourceHandle);
  delete handle;
  return cudaSuccess;
}

cudaError_t run_all(const std::vector<Work>& nodes) {
  for (const Work& node : nodes) {
    const cudaError_t error = node();
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

bool is_capturing(cudaStream_t stream) {
  const ApiLock lock;
  return stream && stream->capture;
}

bool forbidden_by_capture() {
  const ApiLock lock;
  bool forbidden = false;
  for (const auto& capture : captures()) {
    if (capture->mode == cudaStreamCaptureModeRelaxed) continue;
    capture->spoilt = true;
    forbidden = true;
  }
  return forbidden;
}

cudaError_t submit(cudaStream_t stream, Work work) {
  const ApiLock lock;
  if (device().failure != cudaSuccess) return remember(device().failure);
  if (!is_stream(stream)) return remember(cudaErrorInvalidResourceHandle);
  if (!stream) {
    // The legacy stream waits for all blocking streams, which a recorded one cannot grant.
    for (const auto& capture : captures()) {
      const bool blocking = std::any_of(capture->streams.begin(), capture->streams.end(),
                                        [](const Stream* s) { return s->blocking; });
      if (blocking) {
        capture->spoilt = true;
        return remember(cudaErrorStreamCaptureImplicit);
      }
    }
  }
  if (!is_capturing(stream)) return remember(work());
  Capture& capture = *stream->capture;
  if (capture.spoilt) return remember(cudaErrorStreamCaptureInvalidated);
  capture.graph.nodes.push_back(std::move(work));
  stream->unjoined = stream != capture.origin;
  return cudaSuccess;
}

}  // namespace lora_emu

using namespace lora_emu;

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return create(stream); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const cudaError_t error = create(stream);
  if (error == cudaSuccess) (*stream)->blocking = flags != cudaStreamNonBlocking;
  return error;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const ApiLock lock;
  if (stream && is_alive(stream) && stream->capture) {
    return remember(cudaErrorStreamCaptureUnsupported);
  }
  return destroy(stream);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const ApiLock lock;
  if (!is_stream(stream)) return remember(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) {
    stream->capture->spoilt = true;
    return remember(cudaErrorStreamCaptureUnsupported);
  }
  return remember(device().failure);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }

cudaError_t cudaDeviceSynchronize() {
  if (forbidden_by_capture()) return remember(cudaErrorStreamCaptureUnsupported);
  return remember(device().failure);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const ApiLock lock;
  if (!is_stream(stream) || !is_alive(event)) return remember(cudaErrorInvalidResourceHandle);
  if (!event->recorded) return cudaSuccess;
  if (!event->capture) {
    if (!is_capturing(stream)) return cudaSuccess;
    stream->capture->spoilt = true;
    return remember(cudaErrorStreamCaptureIsolation);
  }
  if (!stream) return remember(cudaErrorStreamCaptureImplicit);
  if (!stream->capture) {
    stream->capture = event->capture;
    stream->capture->streams.push_back(stream);
    stream->unjoined = true;
  }
  event->stream->unjoined = false;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return create(event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return create(event); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return destroy(event); }

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const ApiLock lock;
  if (!is_stream(stream) || !is_alive(event)) return remember(cudaErrorInvalidResourceHandle);
  event->recorded = true;
  event->capture = stream ? stream->capture : nullptr;
  event->stream = stream;
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const ApiLock lock;
  if (!is_alive(event)) return remember(cudaErrorInvalidResourceHandle);
  return remember(event->capture ? cudaErrorCapturedEvent : cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) { return cudaEventQuery(event); }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const ApiLock lock;
  if (!is_alive(start) || !is_alive(end) || !start->recorded || !end->recorded) {
    return remember(cudaErrorInvalidResourceHandle);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const ApiLock lock;
  if (!stream || is_capturing(stream)) return remember(cudaErrorStreamCaptureUnsupported);
  if (!is_alive(stream)) return remember(cudaErrorInvalidResourceHandle);
  captures().push_back(std::make_unique<Capture>(Capture{stream, mode, false, {}, {stream}}));
  stream->capture = captures().back().get();
  stream->unjoined = false;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const ApiLock lock;
  *graph = nullptr;
  if (!is_capturing(stream) || stream->capture->origin != stream) {
    return remember(cudaErrorStreamCaptureUnmatched);
  }
  const auto found = std::find_if(captures().begin(), captures().end(),
                                  [&](const auto& c) { return c.get() == stream->capture; });
  const std::unique_ptr<Capture> capture = std::move(*found);
  captures().erase(found);
  bool unjoined = false;
  for (Stream* member : capture->streams) {
    unjoined |= member->unjoined;
    member->capture = nullptr;
  }
  for (Event* event : alive<Event>()) {
    if (event->capture == capture.get()) {
      event->capture = nullptr;
      event->recorded = false;
    }
  }
  if (capture->spoilt) return remember(cudaErrorStreamCaptureInvalidated);
  if (unjoined) return remember(cudaErrorStreamCaptureUnjoined);
  const cudaError_t error = create(graph);
  if (error == cudaSuccess) (*graph)->nodes = std::move(capture->graph.nodes);
  return error;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const ApiLock lock;
  if (!is_stream(stream)) return remember(cudaErrorInvalidResourceHandle);
  *status = cudaStreamCaptureStatusNone;
  if (is_capturing(stream)) {
    *status = stream->capture->spoilt ? cudaStreamCaptureStatusInvalidated
                                      : cudaStreamCaptureStatusActive;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  const ApiLock lock;
  if (!is_alive(graph)) return remember(cudaErrorInvalidValue);
  const cudaError_t error = create(executable);
  if (error == cudaSuccess) (*executable)->nodes = graph->nodes;
  return error;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const ApiLock lock;
  if (!is_alive(executable)) return remember(cudaErrorInvalidResourceHandle);
  return submit(stream, [nodes = executable->nodes] { return run_all(nodes); });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return destroy(graph); }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return destroy(executable); }
