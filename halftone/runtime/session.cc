#include "halftone/runtime/session.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/kernel/activations.h"
#include "halftone/kernel/matmul.h"
#include "halftone/runtime/attention.h"
#include "halftone/runtime/kv_cache.h"
#include "halftone/runtime/program.h"

namespace halftone::runtime {
namespace {

constexpr int64_t kHeadRows = 64;      // rows of logits computed together
constexpr int64_t kRowsWorth = 16384;  // floats of row work below which waking the pool costs more

int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

}  // namespace

// Runs segments over one set of buffers. The rows of a batch are those of its parts, one after the
// other.
struct Session::Engine {
  struct Part {
    int64_t sequence = 0, row = 0, tokens = 0, position = 0;
  };
  struct Batch {
    std::span<const Part> parts;
    const int32_t* ids = nullptr;  // by row, as the others
    const int64_t* positions = nullptr;
    const int32_t* token_types = nullptr;
    const uint8_t* visible = nullptr;
  };

  // A step appends at most `rows` tokens to a sequence.
  Engine(std::shared_ptr<const Model> m, int64_t sequences, int64_t rows, const Context& context)
      : model(std::move(m)),
        program(model->program()),
        kernels(model->kernels()),
        ops(*kernels.vector),
        pool(*context.pool),
        attention(kernels, pool),
        stop(context) {
    for (int64_t s = 0; s < sequences && !program.layers.empty(); ++s)
      caches.emplace_back(program.layers, model->kv_format(), rows);
    for (const spec::Rope& rope : program.ropes) ropes.emplace_back(rope);
  }

  // ---- memory
  void reserve_rows(int64_t rows) {
    if (rows <= rows_reserved) return;
    slots.clear();
    for (const int64_t width : program.slot_widths)
      slots.emplace_back(DType::f32, Shape{rows, up(width, 16)});
    rows_reserved = rows;
  }
  uint64_t scratch() const {
    uint64_t bytes = 0;
    for (const HostTensor& t : slots) bytes += t.bytes().size();
    return bytes;
  }
  int64_t stride(const Operand& o) const {
    return o.slot == kOutputSlot ? o.width : slots[static_cast<size_t>(o.slot)].dim(1);
  }
  float* rows_of(const Operand& o) {
    if (o.slot == kOutputSlot) return output;
    if (o.segment_input && gathered_input) return gathered.data() + o.offset;
    float* base = slots[static_cast<size_t>(o.slot)].as<float>().data();
    return base + (o.segment_input ? input_row * stride(o) : 0) + o.offset;
  }

  // ---- steps
  void run(const SegmentProgram& segment, const Batch& batch, int64_t rows) {
    for (const Step& step : segment.steps) {
      const int64_t n = step.pooled ? static_cast<int64_t>(batch.parts.size()) : rows;
      std::visit([&](const auto& s) { execute(s, batch, n); }, step.what);
    }
  }

  void execute(const RowStep& step, const Batch& batch, int64_t rows) {
    int64_t width = 0;
    for (const RowOp& op : step.ops) width += op.out.width;
    const auto range = [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        for (const RowOp& op : step.ops) row(op, batch, r);
    };
    if (rows > 1 && rows * width >= kRowsWorth)
      pool.split(rows, range);
    else
      range(0, rows);
  }

  void row(const RowOp& op, const Batch& batch, int64_t r) {
    float* out = rows_of(op.out) + r * stride(op.out);
    const int64_t width = op.out.width;
    if (const auto* e = std::get_if<EmbedOp>(&op.op)) {
      e->table->read(embedding_row(*e, batch, r), {out, static_cast<size_t>(width)});
      if (e->scale != 1.0f) ops.scale(out, e->scale, width, out);
      return;
    }
    const float* a = rows_of(op.a) + r * stride(op.a);
    if (const auto* n = std::get_if<NormOp>(&op.op)) {
      const auto slice = [&](const std::vector<float>& shared_or_wide, int64_t i) {
        const bool wide = std::ssize(shared_or_wide) > n->width;
        return shared_or_wide.empty() ? nullptr : shared_or_wide.data() + (wide ? i : 0);
      };
      for (int64_t i = 0; i < width; i += n->width) {
        if (n->kind == spec::Norm::Kind::rms)
          ops.rms_norm(a + i, slice(n->weight, i), n->eps, n->width, out + i);
        else
          ops.layer_norm(a + i, slice(n->weight, i), slice(n->bias, i), n->eps, n->width, out + i);
      }
    } else {
      elementwise(op, r, 0, width);
    }
  }

  // Columns [begin, end) of an activation, a sum or a product.
  void elementwise(const RowOp& op, int64_t r, int64_t begin, int64_t end) {
    const float* a = rows_of(op.a) + r * stride(op.a) + begin;
    float* out = rows_of(op.out) + r * stride(op.out) + begin;
    const int64_t n = end - begin;
    if (const auto* f = std::get_if<ActivationOp>(&op.op)) {
      using Kind = spec::Activation::Kind;
      switch (f->kind) {
        case Kind::silu:
          ops.silu(a, n, out);
          break;
        case Kind::gelu_erf:
          ops.gelu_erf(a, n, out);
          break;
        case Kind::gelu_tanh:
          ops.gelu_tanh(a, n, out);
          break;
        case Kind::tanh:
          ops.tanh(a, n, out);
          break;
        case Kind::relu:
          for (int64_t i = 0; i < n; ++i) out[i] = a[i] > 0 ? a[i] : 0.0f;
          break;
      }
      return;
    }
    const float* b = rows_of(op.b) + r * stride(op.b) + begin;
    if (std::holds_alternative<AddOp>(op.op))
      ops.add(a, b, n, out);
    else
      ops.multiply(a, b, n, out);
  }

  static int64_t embedding_row(const EmbedOp& e, const Batch& batch, int64_t r) {
    switch (e.index) {
      case spec::Embed::Index::token:
        return batch.ids[r];
      case spec::Embed::Index::position:
        return batch.positions[r] + e.offset;
      case spec::Embed::Index::token_type:
        return batch.token_types == nullptr ? 0 : batch.token_types[r];
    }
    return 0;
  }

  void execute(const LinearStep& step, const Batch& batch, int64_t rows) {
    const float* x = rows_of(step.in);
    int64_t ldx = stride(step.in);
    if (input_observer) input_observer({step.ops, x, rows, step.in.width, ldx});
    if (disturber && step.input >= 0) {
      const int64_t width = step.in.width;
      disturbed.resize(static_cast<size_t>(rows * width));
      for (int64_t r = 0; r < rows; ++r)
        std::copy_n(x + r * ldx, width, disturbed.data() + r * width);
      disturber(step.input, {batch.positions, static_cast<size_t>(rows)}, disturbed.data(), width);
      x = disturbed.data();
      ldx = width;
    }
    if (prepared.size() < step.preparations.size()) prepared.resize(step.preparations.size());
    for (size_t i = 0; i < step.preparations.size(); ++i) {
      const Preparation& p = step.preparations[i];
      if (p.transform.empty()) {
        kernel::prepare(prepared[i], kernels, p.plan, x, rows, ldx, &pool);
      } else {
        const int64_t cols = transform(p.transform, x, ldx, step.in.width, rows);
        kernel::prepare(prepared[i], kernels, p.plan, transformed.data(), rows, cols, &pool);
      }
    }
    // All tiles of all jobs in equal shares; each job in equal shares where columns of several meet
    // in an epilogue.
    const bool apart = !step.epilogue.empty();
    int64_t all = 0;
    for (const LinearJob& job : step.jobs) all += job.weights->tiles();
    pool.run([&](int64_t worker, int64_t workers) {
      const auto share = [&](int64_t tiles) {
        return std::pair(tiles * worker / workers, tiles * (worker + 1) / workers);
      };
      int64_t first = 0;
      for (const LinearJob& job : step.jobs) {
        const int64_t count = job.weights->tiles();
        auto [b, e] = share(apart ? count : all);
        if (!apart) {
          b = std::max(b - first, int64_t{0});
          e = std::min(e - first, count);
          first += count;
        }
        if (b >= e) continue;
        float* y = rows_of(job.out);
        const int64_t ldy = stride(job.out);
        kernel::matmul(kernels, *job.weights, prepared[job.preparation], y, ldy, b, e);
        if (job.bias.empty()) continue;
        const int64_t c0 = b * kernel::kTileRows,
                      c1 = std::min(e * kernel::kTileRows, job.weights->rows());
        for (int64_t r = 0; r < rows; ++r)
          ops.add(y + r * ldy + c0, job.bias.data() + c0, c1 - c0, y + r * ldy + c0);
      }
      if (!apart) return;
      const int64_t width = step.epilogue.front().out.width;
      const auto [b, e] = share((width + kernel::kTileRows - 1) / kernel::kTileRows);
      const int64_t c0 = b * kernel::kTileRows, c1 = std::min(e * kernel::kTileRows, width);
      for (int64_t r = 0; r < rows && c0 < c1; ++r)
        for (const RowOp& op : step.epilogue) elementwise(op, r, c0, c1);
    });
  }

  // Gathers and scales the columns of x into `transformed`; returns how many there are.
  int64_t transform(const InputTransform& t, const float* x, int64_t ldx, int64_t width,
                    int64_t rows) {
    const int64_t cols = t.gather.empty() ? width : static_cast<int64_t>(t.gather.size());
    transformed.resize(static_cast<size_t>(rows * cols));
    const auto range = [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const float* from = x + r * ldx;
        float* to = transformed.data() + r * cols;
        for (int64_t i = 0; i < cols; ++i) {
          const int64_t k = t.gather.empty() ? i : t.gather[static_cast<size_t>(i)];
          to[i] = k < 0             ? 0.0f
                  : t.scale.empty() ? from[k]
                                    : from[k] * t.scale[static_cast<size_t>(k)];
        }
      }
    };
    if (rows > 1 && rows * cols >= kRowsWorth)
      pool.split(rows, range);
    else
      range(0, rows);
    return cols;
  }

  void execute(const AttentionStep& step, const Batch& batch, int64_t) {
    const spec::Attention& a = step.attention;
    const auto heads = [&](const Operand& o, int64_t row) {
      const int64_t ld = stride(o);
      return HeadRows{rows_of(o) + row * ld, ld, 0,
                      o.head_stride != 0 ? o.head_stride : a.head_dim};
    };
    int64_t longest = 0;
    for (const Part& part : batch.parts) longest = std::max(longest, part.position + part.tokens);
    const RopeTable* rope = nullptr;
    if (step.rope >= 0) {
      RopeTable& table = ropes[static_cast<size_t>(step.rope)];
      table.reserve(up(longest, kKvBlock));
      rope = &table;
    }
    calls.clear();
    for (const Part& part : batch.parts) {
      KvCache& cache = (a.causal ? caches : pads)[static_cast<size_t>(part.sequence)];
      cache.reserve(part.position, part.position + part.tokens);
      calls.push_back({.attention = &a,
                       .rope = rope,
                       .q = heads(step.q, part.row),
                       .k = heads(step.k, part.row),
                       .v = heads(step.v, part.row),
                       .out = heads(step.out, part.row),
                       .position = part.position,
                       .tokens = part.tokens,
                       .layer = step.layer,
                       .key_visible = batch.visible == nullptr ? nullptr : batch.visible + part.row,
                       .cache = &cache});
    }
    attention.run(calls);
  }

  void execute(const PoolStep& step, const Batch& batch, int64_t) {
    const int64_t width = step.in.width, ld = stride(step.in);
    float* out = rows_of(step.out);
    for (const Part& part : batch.parts) {
      const auto seen = [&](int64_t t) {
        return batch.visible == nullptr || batch.visible[part.row + t] != 0;
      };
      const float* rows = rows_of(step.in) + part.row * ld;
      int64_t pick = 0, count = 0;
      for (int64_t t = 0; t < part.tokens; ++t) {
        if (!seen(t)) continue;
        pick = t;
        ++count;
      }
      if (step.kind == spec::Pool::Kind::mean) {
        std::fill_n(out, width, 0.0f);
        for (int64_t t = 0; t < part.tokens; ++t)
          if (seen(t)) ops.add(out, rows + t * ld, width, out);
        ops.scale(out, 1.0f / static_cast<float>(std::max<int64_t>(count, 1)), width, out);
      } else {
        std::copy_n(rows + (step.kind == spec::Pool::Kind::first ? 0 : pick) * ld, width, out);
      }
      out += stride(step.out);
    }
  }

  // Appends to `parts` one of `tokens` rows.
  void append_part(int64_t sequence, int64_t tokens, int64_t position) {
    const auto row = static_cast<int64_t>(positions.size());
    parts.push_back({.sequence = sequence, .row = row, .tokens = tokens, .position = position});
    for (int64_t t = 0; t < tokens; ++t) positions.push_back(position + t);
  }

  // The epilogue on rows of the last batch, gathered into one block where they are scattered: its
  // weights (the head's) are read once.
  void head(std::span<const int64_t> rows, float* out) {
    const auto n = static_cast<int64_t>(rows.size());
    const Operand& in = program.epilogue.in;
    bool run_of_rows = true;
    for (int64_t i = 0; i < n; ++i) run_of_rows &= rows[static_cast<size_t>(i)] == rows.front() + i;
    input_row = run_of_rows ? rows.front() : 0;
    gathered_input = !run_of_rows;
    if (gathered_input) {
      const HostTensor& slot = slots[static_cast<size_t>(in.slot)];
      const int64_t ld = slot.dim(1);
      gathered.resize(static_cast<size_t>(kHeadRows * ld));
      for (int64_t i = 0; i < n; ++i)
        std::copy_n(slot.as<float>().data() + rows[static_cast<size_t>(i)] * ld, ld,
                    gathered.data() + i * ld);
    }
    output = out;
    run(program.epilogue, {}, n);
    gathered_input = false;
  }

  void blocks(const Batch& batch, int64_t rows) {
    reserve_rows(std::max(rows, rows_wanted));
    input_row = 0;
    run(program.prologue, batch, rows);
    blocks_from(0, std::ssize(program.blocks), batch, rows);
  }

  // What enters block `first`, or the epilogue behind the last one.
  const Operand& entering(int64_t first) const {
    return first < std::ssize(program.blocks) ? program.blocks[static_cast<size_t>(first)].in
                                              : program.epilogue.in;
  }

  void blocks_from(int64_t first, int64_t end, const Batch& batch, int64_t rows) {
    for (int64_t b = first; b <= end; ++b) {
      if (observer) observer(b, rows_of(entering(b)), stride(entering(b)));
      if (b < end) run(program.blocks[static_cast<size_t>(b)], batch, rows);
    }
  }

  // The same with the blocks before `first` replaced by what they gave.
  void resume(int64_t first, int64_t end, std::span<const float> hidden, const Batch& batch,
              int64_t rows) {
    reserve_rows(std::max(rows, rows_wanted));
    input_row = 0;
    const Operand& in = entering(first);
    const int64_t width = std::ssize(hidden) / rows;
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(hidden.data() + r * width, width, rows_of(in) + r * stride(in));
    blocks_from(first, end, batch, rows);
  }

  std::shared_ptr<const Model> model;
  const Program& program;
  const kernel::Kernels& kernels;
  const kernel::VectorOps& ops;
  ThreadPool& pool;
  AttentionRunner attention;
  Context stop;  // for throw_if_stopped
  Observer observer;
  InputObserver input_observer;
  Disturber disturber;
  std::vector<KvCache> caches, pads;  // of a decoder's sequences; of an encoder's
  std::vector<RopeTable> ropes;
  std::vector<HostTensor> slots;
  std::vector<kernel::Activations> prepared;
  std::vector<float> disturbed, transformed;
  std::vector<AttentionCall> calls;
  std::vector<Part> parts;  // of the batch under way
  std::vector<int32_t> ids;
  std::vector<int64_t> positions, head_rows;
  std::vector<float> gathered;
  bool gathered_input = false;
  int64_t rows_reserved = 0, rows_wanted = 1, input_row = 0;
  float* output = nullptr;
};

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options,
                 const Context& context)
    : model_(std::move(model)),
      max_tokens_(options.max_tokens > 0 ? std::min(options.max_tokens, model_->context_length())
                                         : model_->context_length()),
      chunk_(std::clamp<int64_t>(options.chunk, 1,
                                 max_tokens_ * std::max<int64_t>(options.sequences, 1))),
      sequences_(options.sequences),
      positions_(static_cast<size_t>(std::max<int64_t>(sequences_, 0)), 0) {
  check(context.pool != nullptr, "a session needs a thread pool");
  check(sequences_ >= 1, "a session has a sequence");
  engine_ = std::make_unique<Engine>(model_, sequences_, std::max(chunk_, sequences_), context);
}

Session::~Session() = default;

void Session::reset() { std::fill(positions_.begin(), positions_.end(), 0); }

int64_t Session::truncate(int64_t position, int64_t sequence) {
  int64_t& now = positions_[static_cast<size_t>(sequence)];
  check(position >= 0 && position <= now, "a sequence is truncated to a position it has reached");
  if (position < now && !engine_->caches.empty())
    position = engine_->caches[static_cast<size_t>(sequence)].truncate(position);
  return now = position;
}

void Session::release(int64_t sequence) {
  positions_[static_cast<size_t>(sequence)] = 0;
  engine_->caches[static_cast<size_t>(sequence)].release();
}

int64_t Session::fork(int64_t from, int64_t position, int64_t to) {
  check(from != to && position >= 0 && position <= this->position(from),
        "a sequence begins as another one did");
  position = engine_->caches[static_cast<size_t>(to)].share(
      engine_->caches[static_cast<size_t>(from)], position);
  return positions_[static_cast<size_t>(to)] = position;
}

uint64_t Session::cache_bytes() const {
  uint64_t bytes = 0;
  for (const KvCache& c : engine_->caches) bytes += c.bytes();
  return bytes;
}

uint64_t Session::cache_bytes(int64_t sequence) const {
  return engine_->caches[static_cast<size_t>(sequence)].bytes();
}

uint64_t Session::cache_bytes_for(int64_t tokens) const {
  return engine_->caches.empty() ? 0 : engine_->caches.front().bytes_for(tokens);
}

uint64_t Session::scratch_bytes() const { return engine_->scratch(); }

namespace {
void check_ids(std::span<const int32_t> ids, int64_t vocabulary) {
  for (const int32_t id : ids)
    if (id < 0 || id >= vocabulary)
      throw InputError("tokens",
                       "id " + std::to_string(id) + " is outside the vocabulary of " +
                           std::to_string(vocabulary),
                       "use the tokenizer of this model");
}
}  // namespace

// Refuses, before anything is computed, what cannot follow `first` tokens of a sequence.
void Session::check_next(std::span<const int32_t> ids, int64_t first) const {
  if (model_->bidirectional() || model_->spec().output != spec::ModelSpec::Output::language_model)
    throw UnsupportedError(model_->packed().checkpoint().name,
                           "is an encoder and gives no next token", "use a language model");
  check_ids(ids, model_->vocabulary());
  const int64_t length = first + static_cast<int64_t>(ids.size());
  if (length > max_tokens_)
    throw InputError("tokens",
                     "a sequence of " + std::to_string(length) +
                         " tokens is longer than the limit of " + std::to_string(max_tokens_),
                     "shorten the text");
}

void Session::check_prompt(std::span<const int32_t> ids) const {
  if (ids.empty()) throw InputError("prompt", "has no tokens", "write at least one word");
  check_next(ids, 0);
}

void Session::advance(std::span<const int32_t> ids) {
  check(static_cast<int64_t>(ids.size()) <= chunk_, "advance takes at most a chunk of tokens");
  const Append part{.sequence = 0, .ids = ids};
  advance(std::span(&part, 1));
}

void Session::observe(Observer observer) { engine_->observer = std::move(observer); }

void Session::disturb(Disturber disturber) { engine_->disturber = std::move(disturber); }

void Session::observe_inputs(InputObserver observer) {
  engine_->input_observer = std::move(observer);
}

void Session::advance(std::span<const Append> parts) { step(parts, -1, {}, 0); }

void Session::advance_from(int64_t block, std::span<const int32_t> ids,
                           std::span<const float> hidden, std::optional<int64_t> end) {
  const auto blocks = std::ssize(model_->program().blocks);
  check(block >= 0 && block <= end.value_or(blocks) && end.value_or(blocks) <= blocks,
        "a model has those blocks");
  check(std::ssize(hidden) == std::ssize(ids) * model_->spec().width,
        "a token has one hidden state");
  const Append part{.sequence = 0, .ids = ids};
  step(std::span(&part, 1), block, hidden, end.value_or(blocks));
}

// From the embedding where first_block is negative.
void Session::step(std::span<const Append> parts, int64_t first_block,
                   std::span<const float> hidden, int64_t end_block) {
  Engine& e = *engine_;
  for (size_t i = 0; i < parts.size(); ++i) {
    check(parts[i].sequence >= 0 && parts[i].sequence < sequences_ && !parts[i].ids.empty(),
          "a part appends tokens to a sequence of the session");
    for (size_t j = 0; j < i; ++j)
      check(parts[j].sequence != parts[i].sequence, "a sequence is in a step once");
    check_next(parts[i].ids, position(parts[i].sequence));
  }
  e.parts.clear();
  e.ids.clear();
  e.positions.clear();
  for (const Append& part : parts) {
    e.append_part(part.sequence, static_cast<int64_t>(part.ids.size()), position(part.sequence));
    e.ids.insert(e.ids.end(), part.ids.begin(), part.ids.end());
  }
  const auto rows = static_cast<int64_t>(e.ids.size());
  check(rows > 0 && rows <= std::max(chunk_, sequences_), "a step has 1 to chunk rows");
  e.stop.throw_if_stopped();
  if (rows > 1) e.rows_wanted = std::max(e.rows_wanted, chunk_);
  const Engine::Batch batch{.parts = e.parts, .ids = e.ids.data(), .positions = e.positions.data()};
  if (first_block < 0)
    e.blocks(batch, rows);
  else
    e.resume(first_block, end_block, hidden, batch, rows);
  for (const Engine::Part& part : e.parts)
    positions_[static_cast<size_t>(part.sequence)] += part.tokens;
}

void Session::logits(std::span<const int64_t> rows, std::span<float> out) {
  const int64_t vocabulary = model_->vocabulary();
  check(std::ssize(out) >= std::ssize(rows) * vocabulary, "no room for the logits");
  for (const int64_t row : rows)
    check(row >= 0 && row < std::ssize(engine_->ids), "logits of a row that the step had not");
  for (int64_t r = 0; r < std::ssize(rows); r += kHeadRows) {
    const int64_t n = std::min(kHeadRows, std::ssize(rows) - r);
    engine_->head(rows.subspan(static_cast<size_t>(r), static_cast<size_t>(n)),
                  out.data() + r * vocabulary);
  }
}

void Session::logits(int64_t first, int64_t count, std::span<float> out) {
  std::vector<int64_t>& rows = engine_->head_rows;
  rows.clear();
  for (int64_t r = 0; r < count; ++r) rows.push_back(first + r);
  logits(rows, out);
}

std::span<const float> Session::feed(std::span<const int32_t> ids) {
  check(!ids.empty(), "feed takes at least one token");
  const auto count = static_cast<int64_t>(ids.size());
  check_next(ids, position());
  int64_t last = 0;
  for (int64_t i = 0; i < count; i += chunk_) {
    last = std::min(chunk_, count - i);
    advance(ids.subspan(static_cast<size_t>(i), static_cast<size_t>(last)));
  }
  last_logits_.resize(static_cast<size_t>(model_->vocabulary()));
  logits(last - 1, 1, last_logits_);
  return last_logits_;
}

Encoded Session::encode(const EncoderBatch& batch) {
  const spec::ModelSpec& spec = model_->spec();
  if (spec.output != spec::ModelSpec::Output::hidden_and_pooled)
    throw UnsupportedError(model_->packed().checkpoint().name,
                           "is a language model and does not encode", "use an encoder (BERT)");
  const int64_t rows = batch.sequences * batch.tokens;
  check(batch.sequences > 0 && batch.tokens > 0 && static_cast<int64_t>(batch.ids.size()) == rows,
        "ids do not fill the batch");
  check(batch.token_types.empty() || static_cast<int64_t>(batch.token_types.size()) == rows,
        "token types do not fill the batch");
  check(batch.visible.empty() || static_cast<int64_t>(batch.visible.size()) == rows,
        "the padding mask does not fill the batch");
  check_ids(batch.ids, spec.vocabulary);
  for (const int32_t t : batch.token_types)
    if (t < 0 || t >= std::max<int64_t>(spec.token_types, 1))
      throw InputError("tokens", "token type " + std::to_string(t) + " is outside 0.." +
                                     std::to_string(std::max<int64_t>(spec.token_types, 1) - 1));
  if (batch.tokens > max_tokens_)
    throw InputError("tokens",
                     "a sequence of " + std::to_string(batch.tokens) +
                         " tokens is longer than the limit of " + std::to_string(max_tokens_),
                     "shorten the text");
  Engine& e = *engine_;
  const Program& program = e.program;
  while (static_cast<int64_t>(e.pads.size()) < batch.sequences)
    e.pads.emplace_back(program.bidirectional, KvFormat{});
  e.stop.throw_if_stopped();
  e.parts.clear();
  e.positions.clear();
  for (int64_t i = 0; i < batch.sequences; ++i) e.append_part(i, batch.tokens, 0);
  const Engine::Batch b{
      .parts = e.parts,
      .ids = batch.ids.data(),
      .positions = e.positions.data(),
      .token_types = batch.token_types.empty() ? nullptr : batch.token_types.data(),
      .visible = batch.visible.empty() ? nullptr : batch.visible.data()};
  e.blocks(b, rows);
  const auto copy = [&](const Operand& from, int64_t count) {
    Matrix<float> out(count, from.width);
    for (int64_t r = 0; r < count; ++r)
      std::copy_n(e.rows_of(from) + r * e.stride(from), from.width, out.row(r).data());
    return out;
  };
  Encoded out;
  Operand hidden = program.epilogue.in;
  hidden.width = spec.width;
  out.hidden = copy(hidden, rows);
  if (!program.epilogue.steps.empty()) {
    e.run(program.epilogue, b, rows);
    out.pooled = copy(program.epilogue.out, program.epilogue.pooled_out ? batch.sequences : rows);
  }
  return out;
}

}  // namespace halftone::runtime
