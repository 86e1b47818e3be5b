// SPDX-License-Identifier: MIT
#include "stream.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "device.hpp"
#include "memory.hpp"

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

Stream& stream_of(cudaStream_t stream) {
  static auto* const legacy = new Stream;
  return stream ? *stream : *legacy;
}

void land(Stream& stream, std::uint64_t until) {
  for (; stream.landed < until && !stream.pending.empty(); ++stream.landed) {
    const PendingCopy& copy = stream.pending.front();
    std::memcpy(copy.to, copy.from, copy.bytes);
    stream.pending.pop_front();
  }
}

void land_all(Stream& stream) { land(stream, stream.landed + stream.pending.size()); }

/// Whether what the event stands behind has run.
bool is_reached(const Event& event) {
  return !event.recorded || !is_stream(event.stream) ||
         stream_of(event.stream).landed >= event.copies;
}

void wait_for(const Event& event) {
  if (!is_reached(event)) land(stream_of(event.stream), event.copies);
}

/// What work in the stream has to wait for: it, and the legacy stream or, in that, all that block.
void land_before_work_in(cudaStream_t stream) {
  land_all(stream_of(stream));
  if (stream && stream->blocking) land_all(stream_of(nullptr));
  if (stream) return;
  for (Stream* other : alive<Stream>()) {
    if (other->blocking) land_all(*other);
  }
}

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

void land_copies(cudaStream_t stream) {
  const ApiLock lock;
  land_all(stream_of(stream));
  if (stream) return;
  for (Stream* other : alive<Stream>()) land_all(*other);
}

bool is_awaited(const void* block) {
  const ApiLock lock;
  const auto reads = [&](const Stream& stream) {
    return std::any_of(stream.pending.begin(), stream.pending.end(), [&](const PendingCopy& copy) {
      return block_of(copy.from, MemoryKind::kPinned) == block;
    });
  };
  return reads(stream_of(nullptr)) ||
         std::any_of(alive<Stream>().begin(), alive<Stream>().end(),
                     [&](const Stream* stream) { return reads(*stream); });
}

cudaError_t submit_late(cudaStream_t stream, const PendingCopy& copy) {
  const ApiLock lock;
  if (is_stream(stream) && !is_capturing(stream)) {
    if (device().failure != cudaSuccess) return remember(device().failure);
    // Those before it in this stream are as pending as it is.
    if (stream && stream->blocking) land_all(stream_of(nullptr));
    stream_of(stream).pending.push_back(copy);
    return cudaSuccess;
  }
  return submit(stream, [copy] {
    std::memcpy(copy.to, copy.from, copy.bytes);
    return cudaSuccess;
  });
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
  if (!is_capturing(stream)) {
    land_before_work_in(stream);
    return remember(work());
  }
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
  if (stream && is_alive(stream)) land_all(*stream);
  return destroy(stream);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const ApiLock lock;
  if (!is_stream(stream)) return remember(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) {
    stream->capture->spoilt = true;
    return remember(cudaErrorStreamCaptureUnsupported);
  }
  land_before_work_in(stream);
  return remember(device().failure);
}

// A look in vain is followed by what it looked for, so that looking on ends.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const ApiLock lock;
  const bool ready = is_stream(stream) && stream_of(stream).pending.empty();
  const cudaError_t error = cudaStreamSynchronize(stream);
  return error == cudaSuccess && !ready ? remember(cudaErrorNotReady) : error;
}

cudaError_t cudaDeviceSynchronize() {
  if (forbidden_by_capture()) return remember(cudaErrorStreamCaptureUnsupported);
  land_copies(nullptr);
  return remember(device().failure);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const ApiLock lock;
  if (!is_stream(stream) || !is_alive(event)) return remember(cudaErrorInvalidResourceHandle);
  if (!event->recorded) return cudaSuccess;
  if (!event->capture) {
    if (!is_capturing(stream)) {
      wait_for(*event);
      return cudaSuccess;
    }
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
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const cudaError_t error = create(event);
  if (error == cudaSuccess) (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  return error;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { return destroy(event); }

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const ApiLock lock;
  if (!is_stream(stream) || !is_alive(event)) return remember(cudaErrorInvalidResourceHandle);
  event->recorded = true;
  event->capture = stream ? stream->capture : nullptr;
  event->stream = stream;
  event->copies = stream_of(stream).landed + stream_of(stream).pending.size();
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const ApiLock lock;
  if (!is_alive(event)) return remember(cudaErrorInvalidResourceHandle);
  if (event->capture) return remember(cudaErrorCapturedEvent);
  if (is_reached(*event)) return cudaSuccess;
  wait_for(*event);
  return remember(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const ApiLock lock;
  if (!is_alive(event)) return remember(cudaErrorInvalidResourceHandle);
  if (event->capture) return remember(cudaErrorCapturedEvent);
  wait_for(*event);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const ApiLock lock;
  if (!is_alive(start) || !is_alive(end) || !start->recorded || !end->recorded) {
    return remember(cudaErrorInvalidResourceHandle);
  }
  if (!start->timed || !end->timed) return remember(cudaErrorInvalidResourceHandle);
  if (!is_reached(*start) || !is_reached(*end)) return remember(cudaErrorNotReady);
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
