// SPDX-License-Identifier: MIT
#include <lora_emu/warp.hpp>

#include <algorithm>
#include <string_view>

#include "sanitizers.hpp"
#include "scheduler.hpp"

namespace lora_emu {

namespace {

void check_mask(const char* name, unsigned mask, Location where) {
  const Thread& thread = self();
  const Warp& warp = thread.block->warps[thread.linear / 32];
  const unsigned lane = thread.linear % 32;
  if (!(mask >> lane & 1)) fail(where, "%s with mask %08x from lane %u", name, mask, lane);
  if (mask & ~warp.existing) {
    fail(where, "%s with mask %08x in a warp whose lanes are %08x", name, mask, warp.existing);
  }
  if (mask & warp.exited) {
    fail(where, "%s with mask %08x, of which lanes %08x left the kernel", name, mask,
         mask & warp.exited);
  }
}

Meeting& find_meeting(Warp& warp, const char* name, unsigned mask, bool exchanges, Location where) {
  Meeting* unused = nullptr;
  for (Meeting& meeting : warp.meetings) {
    if (meeting.mask == 0) unused = &meeting;
    if (meeting.mask != mask) continue;
    // Names are literals, but each unit may have its own copy. Only __syncwarp may be met from
    // several places.
    const bool same_name = std::string_view(meeting.name) == name;
    if (!same_name || (exchanges && meeting.where.line() != where.line())) {
      fail(where, "%s while lanes %08x of mask %08x are at %s, at line %u", name, meeting.arrived,
           mask, meeting.name, meeting.where.line());
    }
    return meeting;
  }
  if (!unused) {
    const Unobserved unobserved;
    unused = &warp.meetings.emplace_back();
  }
  unused->mask = mask;
  unused->arrived = 0;
  unused->name = name;
  unused->where = where;
  unused->sync = warp.meetings_begun++ % sizeof warp.sync;
  return *unused;
}

void meet(const char* name, unsigned mask, void* lane_data, WarpFunction function, const char* rule,
          bool orders_memory, Location where) {
  check_mask(name, mask, where);
  Thread& thread = self();
  Warp& warp = thread.block->warps[thread.linear / 32];
  Meeting& meeting = find_meeting(warp, name, mask, function != nullptr, where);
  const unsigned lane = thread.linear % 32;
  void* const sync = &warp.sync[meeting.sync];
  if (orders_memory) release(sync);
  meeting.lanes[lane] = lane_data;
  meeting.arrived |= 1u << lane;
  thread.state = State::kWarp;
  thread.waits_for = name;
  thread.detail = mask;
  thread.where = where;
  if (meeting.arrived == mask) {
    const int offender = function ? function(meeting.lanes, mask) : -1;
    if (offender >= 0) fail(where, "%s with mask %08x: lane %d %s", name, mask, offender, rule);
    scheduler().note_progress();
    const Unobserved unobserved;
    Thread* const first = &thread - lane;
    for (unsigned i = 0; i < 32; ++i) {
      if (mask >> i & 1) scheduler().make_ready(first[i]);
    }
    meeting.mask = 0;
  }
  scheduler().suspend();
  if (orders_memory) acquire(sync);
}

int exchange(void* const (&lanes)[32], unsigned mask) {
  for (unsigned i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    auto& lane = *static_cast<LaneExchange*>(lanes[i]);
    if (!(mask >> lane.source & 1)) return static_cast<int>(i);
    lane.result = static_cast<const LaneExchange*>(lanes[lane.source])->value;
  }
  return -1;
}

template <class Combine>
int reduce(void* const (&lanes)[32], unsigned mask, unsigned start, const Combine& combine) {
  unsigned total = start;
  for (unsigned i = 0; i < 32; ++i) {
    if (mask >> i & 1) {
      total = combine(total, static_cast<unsigned>(static_cast<LaneExchange*>(lanes[i])->value), i);
    }
  }
  for (unsigned i = 0; i < 32; ++i) {
    if (mask >> i & 1) static_cast<LaneExchange*>(lanes[i])->result = total;
  }
  return -1;
}

int ballot(void* const (&lanes)[32], unsigned mask) {
  return reduce(lanes, mask, 0,
                [](unsigned total, unsigned vote, unsigned i) { return total | vote << i; });
}

}  // namespace

int reduce_add(void* const (&lanes)[32], unsigned mask) {
  return reduce(lanes, mask, 0, [](unsigned a, unsigned b, unsigned) { return a + b; });
}
int reduce_min(void* const (&lanes)[32], unsigned mask) {
  return reduce(lanes, mask, ~0u, [](unsigned a, unsigned b, unsigned) { return std::min(a, b); });
}
int reduce_max(void* const (&lanes)[32], unsigned mask) {
  return reduce(lanes, mask, 0, [](unsigned a, unsigned b, unsigned) { return std::max(a, b); });
}

unsigned lane_id() { return self().linear % 32; }

void warp_rendezvous(const char* name, unsigned mask, void* lane, WarpFunction function,
                     const char* rule, Location where) {
  meet(name, mask, lane, function, rule, false, where);
}

void warp_barrier(unsigned mask, Location where) {
  meet("__syncwarp", mask, nullptr, nullptr, "", true, where);
}

unsigned warp_ballot(unsigned mask, bool predicate, const char* name, Location where) {
  LaneExchange lane{predicate, 0, 0};
  warp_rendezvous(name, mask, &lane, ballot, "", where);
  return static_cast<unsigned>(lane.result);
}

std::uint64_t warp_shuffle(unsigned mask, std::uint64_t value, unsigned source, const char* name,
                           Location where) {
  LaneExchange lane{value, source, 0};
  warp_rendezvous(name, mask, &lane, exchange, "reads a lane that is not in it", where);
  return lane.result;
}

unsigned warp_reduce(unsigned mask, unsigned value, const char* name, WarpFunction function,
                     Location where) {
  LaneExchange lane{value, 0, 0};
  warp_rendezvous(name, mask, &lane, function, "", where);
  return static_cast<unsigned>(lane.result);
}

}  // namespace lora_emu
