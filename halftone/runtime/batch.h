// Continuous batching: requests join and leave at any step, and each step reads the weights once
// for all that run (Yu et al. 2022, Orca, OSDI: scheduling by iteration).
//
//   Batch batch(model, {.sequences = 16}, context);
//   const int64_t id = batch.add({.prompt = ids, .options = {.max_new_tokens = 100}});
//   while (!batch.idle())
//     for (const Event& e : batch.step())        // a server adds and cancels between steps
//       if (e.kind == Event::Kind::token) ... e.id, e.token
//
// A step holds a token of every sequence that decodes, and then as many prompt tokens of those that
// join, first come first served, as `rows` leaves room for: a long prompt delays nobody by more
// than that. One whose prompt begins as that of another that runs takes over what is read of it.
// Every request gets the tokens that generate() gives it alone, whatever runs beside it.
//
// Memory: a request is let in when keys and values of its longest possible text fit `cache_bytes`
// beside those let in before; till then it waits, first come first served. So what runs never has
// to be thrown out. A request that could not even fit alone is refused by add(), before any work.
//
// Not for use by two threads at once. Once requests have joined, a step allocates nothing, but for
// the blocks of cache that a sequence takes every 256 tokens.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "halftone/runtime/generate.h"
#include "halftone/runtime/session.h"

namespace halftone::runtime {

struct BatchOptions {
  int64_t sequences = 16;    // run together, at most
  int64_t rows = 256;        // tokens of one step, at most; never below `sequences`
  int64_t max_tokens = 0;    // of one text; 0: the model's context
  uint64_t cache_bytes = 0;  // keys and values of all; 0: half of the memory that is available
};

struct Request {
  std::vector<int32_t> prompt;
  GenerateOptions options;
};

struct Event {
  enum class Kind : uint8_t { token, finished };
  int64_t id = 0;
  Kind kind = Kind::token;
  int32_t token = 0;           // of kind token
  Stop reason = Stop::length;  // of kind finished
  bool operator==(const Event&) const = default;
};

class Batch {
 public:
  Batch(std::shared_ptr<const Model> model, const BatchOptions& options, const Context& context);
  ~Batch();

  // Queues a request; ids count from 0. InputError when the prompt is empty, holds ids that the
  // model lacks, or is longer than a text may be; E_BUDGET when keys and values cannot fit
  // cache_bytes.
  int64_t add(Request request);

  // What one more pass over the weights brought; empty when idle. Tokens of one request come in
  // order, then `finished` once. Valid until the next call. E_INTERRUPTED when context.stop is set,
  // with nothing lost. NumericError when the model gives no finite logits: then the batch is of no
  // more use.
  std::span<const Event> step();

  // Forgets a request, waiting or running; no event follows. False when it is not there (any more).
  bool cancel(int64_t id);

  bool idle() const { return running_.empty() && waiting_.empty(); }
  int64_t running() const { return std::ssize(running_); }
  int64_t waiting() const { return std::ssize(waiting_); }
  uint64_t cache_limit() const { return cache_limit_; }
  uint64_t cache_bytes() const { return session_.cache_bytes(); }  // held now
  int64_t rows_done() const { return rows_done_; }                 // tokens fed in all steps
  const Session& session() const { return session_; }

 private:
  struct Running;
  struct Waiting {
    int64_t id = 0;
    Request request;
  };
  uint64_t wanted_bytes(const Request& request) const;
  void let_in();
  void begin_like_another(Running& joining);
  void leave(size_t i);
  int64_t take_slot(uint64_t bytes);
  void plan_rows();
  void pick_tokens();

  const Context context_;
  Session session_;
  int64_t rows_limit_ = 0, next_id_ = 0, rows_done_ = 0;
  uint64_t cache_limit_ = 0, cache_promised_ = 0;
  std::deque<Waiting> waiting_;
  std::vector<std::unique_ptr<Running>> running_;  // by time of joining
  std::vector<uint8_t> slot_taken_;                // by sequence of the session
  // of the step under way
  std::vector<Append> parts_;
  std::vector<Running*> picking_;  // those whose last row gives a token, in order of rows
  std::vector<int64_t> rows_;      // these rows
  std::vector<float> logits_;
  std::vector<Event> events_;
};

}  // namespace halftone::runtime
