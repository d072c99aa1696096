// ModelSpec -> Program: order of steps, buffers, weights.
#include <algorithm>
#include <exception>
#include <map>
#include <optional>

#include "halftone/base/error.h"
#include "halftone/runtime/program.h"
#include "halftone/runtime/tile_cache.h"

namespace halftone::runtime {
namespace {

using spec::Op;
using spec::Segment;

class Compiler {
 public:
  Compiler(const pack::PackedModel& packed, const LoadOptions& options,
           const TilesInMemory& in_memory, const Context& context, MemoryUse& memory)
      : packed_(packed),
        spec_(packed.checkpoint().spec),
        options_(options),
        in_memory_(in_memory),
        context_(context),
        memory_(memory) {
    if (!options.tile_cache.empty()) cache_.emplace(options.tile_cache, packed, options, context);
  }

  std::unique_ptr<Program> run() {
    program_ = std::make_unique<Program>();
    tile_ahead();
    // The head first: an embedding tied to it reads its rows.
    for (const Op& op : spec_.epilogue.ops)
      if (std::holds_alternative<spec::Linear>(op.params)) heads_.emplace(op.name, load(op));
    Operand stream = {.slot = -2};
    program_->prologue = segment(spec_.prologue, stream, true);
    stream = program_->prologue.out;
    for (const Segment& block : spec_.blocks) {
      program_->blocks.push_back(segment(block, stream, true));
      stream = program_->blocks.back().out;
      context_.throw_if_stopped();
    }
    program_->epilogue = segment(spec_.epilogue, stream, false);
    if (cache_) cache_->finish();
    if (options_.numerics == Numerics::tables) say_tables();
    return std::move(program_);
  }

 private:
  struct Value {
    Operand place;
    int64_t width = 0;
    int last_use = -1;  // index of the op in the segment
    bool pooled = false, live = false;
  };

  // Mode tables is for weights of 2 bits; what else there is runs as in mode int8.
  void say_tables() const {
    if (paired_ == 0)
      context_.warn(
          "mode tables: the model has no weights of 2 bits, all of it runs as in mode int8");
    else if (paired_ < low_bit_)
      context_.info("mode tables: " + std::to_string(low_bit_ - paired_) + " of " +
                    std::to_string(low_bit_) +
                    " quantized linears are not of 2 bits and run as in mode int8");
  }

  // Linears are read, unpacked and tiled side by side, a whole one by each worker; what fails keeps
  // its error for whoever asks for it, so that the first in order is the one that is told.
  void tile_ahead() {
    std::vector<const Op*> ops;
    const auto collect = [&](const Segment& s) {
      for (const Op& op : s.ops)
        if (std::holds_alternative<spec::Linear>(op.params) && kept(op) == nullptr)
          ops.push_back(&op);
    };
    collect(spec_.prologue);
    for (const Segment& block : spec_.blocks) collect(block);
    if (context_.pool == nullptr || context_.pool->threads() == 1) return;
    std::vector<Ahead> found(ops.size());
    context_.pool->each(std::ssize(ops) + 1, [&](int64_t i) {
      if (i == 0) return look_at_heads();
      const auto at = static_cast<size_t>(i - 1);
      try {
        context_.throw_if_stopped();
        found[at].linear = tile_linear(packed_, *ops[at], options_, build());
      } catch (...) {
        found[at].error = std::current_exception();
      }
    });
    for (size_t i = 0; i < ops.size(); ++i) ahead_.emplace(ops[i]->name, std::move(found[i]));
  }

  // A head is tiled by all threads, but what a receipt says of it is compared by one (a hash is a
  // chain): meanwhile the others have the linears.
  void look_at_heads() {
    for (const Op& op : spec_.epilogue.ops) {
      const auto* linear = std::get_if<spec::Linear>(&op.params);
      if (linear == nullptr || kept(op) != nullptr) continue;
      try {
        const auto& tensors = *packed_.checkpoint().tensors;
        const std::string& name = linear->weight.name;
        if (tensors.find(name) != nullptr) tensors.forget(name, tensors.mapped(name));
      } catch (const Error&) {
        // found and told again when the head is loaded
      }
    }
  }

  // Tiles that need not be made: in memory or in the cache; or null.
  const TiledLinear* kept(const Op& op) const {
    const TiledLinear* found = in_memory_ ? in_memory_(op.name) : nullptr;
    return found != nullptr || !cache_ ? found : cache_->find(op.name);
  }

  kernel::TileBuild build() { return {context_.pool, &tiles_}; }

  TiledLinear tile(const Op& op) {
    const auto found = ahead_.find(op.name);
    if (found == ahead_.end()) return tile_linear(packed_, op, options_, build());
    if (found->second.error) std::rethrow_exception(found->second.error);
    return std::move(ahead_.extract(found).mapped().linear);
  }

  TiledLinear tiled(const Op& op) {
    if (const TiledLinear* found = kept(op)) {
      TiledLinear t = *found;
      t.preparation.plan =
          plan_for(t.weights->view(), std::get<spec::Linear>(op.params).role, options_);
      return t;
    }
    TiledLinear t = tile(op);
    if (cache_) cache_->add(op.name, t);
    return t;
  }

  TiledLinear load(const Op& op) {
    try {
      TiledLinear t = tiled(op);
      memory_.weights += static_cast<uint64_t>(t.weights->bytes()) + t.bias.size() * sizeof(float);
      low_bit_ += t.weights->dense() ? 0 : 1;
      paired_ += t.weights->view().pairs;
      return t;
    } catch (Error& e) {
      throw e.note(op.name);
    }
  }

  // ---- buffers
  int32_t take_slot(int64_t width) {
    // The free buffer that wastes least; a new one when every free one would have to grow and none
    // is free.
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      const auto cost = [&](int32_t s) {
        return std::abs(program_->slot_widths[static_cast<size_t>(s)] - width);
      };
      if (best == free_.end() || cost(*it) < cost(*best)) best = it;
    }
    if (best == free_.end()) {
      program_->slot_widths.push_back(width);
      return static_cast<int32_t>(program_->slot_widths.size()) - 1;
    }
    const int32_t slot = *best;
    free_.erase(best);
    auto& have = program_->slot_widths[static_cast<size_t>(slot)];
    have = std::max(have, width);
    return slot;
  }

  // ---- one segment
  // `in` holds value 0. When `release_input`, its buffer may be used again once nobody reads it.
  SegmentProgram segment(const Segment& s, Operand in, bool release_input) {
    SegmentProgram out;
    values_.assign(static_cast<size_t>(s.values()), {});
    std::vector<const Op*> order = schedule(s);
    values_[0].place = in;
    values_[0].width = spec_.width;
    values_[0].live = in.slot >= 0;
    for (size_t i = 0; i < order.size(); ++i)
      for (const spec::View& v : order[i]->in)
        values_[static_cast<size_t>(v.value)].last_use = static_cast<int>(i);
    const int32_t result = s.ops.empty() ? 0 : s.ops.back().out;
    values_[static_cast<size_t>(result)].last_use = static_cast<int>(order.size());
    if (!release_input) {
      values_[0].last_use = static_cast<int>(order.size());
      values_[0].place.segment_input = true;
    }
    const bool logits =
        &s == &spec_.epilogue && spec_.output == spec::ModelSpec::Output::language_model;

    for (size_t i = 0; i < order.size();) {
      const Op& op = *order[i];
      const bool pooled = pooled_in(op);
      const auto place = [&](const Op& o, int64_t width) {
        Value& v = values_[static_cast<size_t>(o.out)];
        v.width = width;
        v.live = true;
        v.place = logits && o.out == result ? Operand{.slot = kOutputSlot, .width = width}
                                            : Operand{.slot = take_slot(width), .width = width};
        v.pooled = pooled || std::holds_alternative<spec::Pool>(o.params);
        return v.place;
      };
      if (std::holds_alternative<spec::Linear>(op.params)) {
        // `schedule` put the linears that read one view next to each other.
        size_t end = i + 1;
        while (end < order.size() && std::holds_alternative<spec::Linear>(order[end]->params) &&
               order[end]->in == op.in)
          ++end;
        LinearStep step;
        step.in = operand(op.in[0]);
        if (&s != &spec_.epilogue) step.input = inputs_++;
        for (size_t j = i; j < end; ++j)
          add_linear(step, *order[j],
                     place(*order[j], std::get<spec::Linear>(order[j]->params).out));
        out.steps.push_back({std::move(step), pooled});
        for (; i < end; ++i) release(*order[i], static_cast<int>(i));
        continue;
      }
      if (const auto* a = std::get_if<spec::Attention>(&op.params)) {
        AttentionStep step = attention(*a, op);
        step.out = place(op, a->heads * a->head_dim);
        out.steps.push_back({std::move(step), pooled});
        release(op, static_cast<int>(i));
      } else if (const auto* p = std::get_if<spec::Pool>(&op.params)) {
        PoolStep step{p->kind, operand(op.in[0]), {}};
        step.out = place(op, step.in.width);
        out.steps.push_back({step, false});
        release(op, static_cast<int>(i));
      } else {
        RowOp row = row_op(op);
        // Row by row, an input that ends here may be overwritten.
        release(op, static_cast<int>(i));
        row.out = place(op, row.out.width);
        if (!out.steps.empty() && out.steps.back().pooled == pooled &&
            follows(out.steps.back(), row)) {
          std::get<LinearStep>(out.steps.back().what).epilogue.push_back(std::move(row));
          ++i;
          continue;
        }
        if (out.steps.empty() || out.steps.back().pooled != pooled ||
            !std::holds_alternative<RowStep>(out.steps.back().what))
          out.steps.push_back({RowStep{}, pooled});
        std::get<RowStep>(out.steps.back().what).ops.push_back(std::move(row));
      }
      ++i;
    }
    out.in = values_[0].place;
    out.out = values_[static_cast<size_t>(result)].place;
    out.pooled_out = values_[static_cast<size_t>(result)].pooled;
    // What is still live here, but for the result, is free for the next segment.
    for (size_t v = 0; v < values_.size(); ++v)
      if (values_[v].live && static_cast<int32_t>(v) != result && (v != 0 || release_input))
        free_slot(values_[v]);
    return out;
  }

  // Can `op` be done column by column by whoever computes those columns in `step`?
  static bool follows(const Step& step, const RowOp& op) {
    const auto* linear = std::get_if<LinearStep>(&step.what);
    const bool adds = std::holds_alternative<AddOp>(op.op),
               multiplies = std::holds_alternative<MultiplyOp>(op.op);
    if (linear == nullptr || !(adds || multiplies || std::holds_alternative<ActivationOp>(op.op)))
      return false;
    const int64_t width = op.out.width;
    if (op.out.slot == kOutputSlot ||
        (!linear->epilogue.empty() && linear->epilogue.back().out.width != width))
      return false;
    // Nor may it overwrite columns that another worker still computes.
    for (const LinearJob& job : linear->jobs)
      if (job.out.slot == op.out.slot && job.out.width != width) return false;
    bool reads = false;  // something that this step computes
    const auto fits = [&](const Operand& in) {
      if (in.width != width || in.head_stride != 0) return false;
      for (const RowOp& before : linear->epilogue) {
        if (in.slot != before.out.slot) continue;
        reads = true;
        return in.offset == 0;
      }
      for (const LinearJob& job : linear->jobs) {
        if (in.slot != job.out.slot) continue;
        reads = true;
        return in.offset == 0 && job.out.width == width;
      }
      return true;
    };
    return fits(op.a) && (!(adds || multiplies) || fits(op.b)) && reads;
  }

  // Execution order: as listed, with later linears pulled up beside the first that reads the same
  // view.
  static std::vector<const Op*> schedule(const Segment& s) {
    std::vector<const Op*> order;
    std::vector<bool> done(s.ops.size(), false);
    for (size_t i = 0; i < s.ops.size(); ++i) {
      if (done[i]) continue;
      order.push_back(&s.ops[i]);
      if (!std::holds_alternative<spec::Linear>(s.ops[i].params)) continue;
      for (size_t j = i + 1; j < s.ops.size(); ++j) {
        if (done[j] || !std::holds_alternative<spec::Linear>(s.ops[j].params) ||
            s.ops[j].in != s.ops[i].in)
          continue;
        done[j] = true;
        order.push_back(&s.ops[j]);
      }
    }
    return order;
  }

  Operand operand(const spec::View& view) const {
    const Value& v = values_[static_cast<size_t>(view.value)];
    Operand o = v.place;
    o.offset = view.offset;
    o.width = view.width == 0 ? v.width - view.offset : view.width;
    o.head_stride = view.head_stride;
    return o;
  }

  bool pooled_in(const Op& op) const {
    bool any = false, all = true;
    for (const spec::View& v : op.in) {
      const bool p = values_[static_cast<size_t>(v.value)].pooled;
      any = any || p;
      all = all && p;
    }
    if (any && !all)
      throw UnsupportedError(op.name, "an op that mixes pooled and unpooled values cannot run");
    return any;
  }

  void free_slot(Value& v) {
    v.live = false;
    if (v.place.slot >= 0) free_.push_back(v.place.slot);
  }

  void release(const Op& op, int index) {
    for (const spec::View& view : op.in) {
      Value& v = values_[static_cast<size_t>(view.value)];
      if (v.live && v.last_use == index) free_slot(v);
    }
  }

  // ---- ops
  void add_linear(LinearStep& step, const Op& op, Operand out) {
    TiledLinear t;
    if (const auto head = heads_.find(op.name); head != heads_.end())
      t = std::move(head->second);
    else
      t = load(op);
    LinearJob job{
        .weights = std::move(t.weights), .bias = std::move(t.bias), .preparation = 0, .out = out};
    const auto same = std::find(step.preparations.begin(), step.preparations.end(), t.preparation);
    job.preparation = static_cast<size_t>(same - step.preparations.begin());
    if (same == step.preparations.end()) step.preparations.push_back(std::move(t.preparation));
    step.jobs.push_back(std::move(job));
    step.ops.push_back(op.name);
  }

  AttentionStep attention(const spec::Attention& a, const Op& op) {
    AttentionStep step;
    step.attention = a;
    step.q = operand(op.in[0]);
    step.k = operand(op.in[1]);
    step.v = operand(op.in[2]);
    if (a.rope) {
      const auto same = std::find(program_->ropes.begin(), program_->ropes.end(), *a.rope);
      step.rope = static_cast<int32_t>(same - program_->ropes.begin());
      if (same == program_->ropes.end()) program_->ropes.push_back(*a.rope);
    }
    const KvShape shape{a.kv_heads, a.head_dim};
    auto& list = a.causal ? program_->layers : program_->bidirectional;
    auto at = a.causal ? list.end() : std::find(list.begin(), list.end(), shape);
    step.layer = at - list.begin();
    if (at == list.end()) list.push_back(shape);
    return step;
  }

  std::vector<float> vector_of(const std::optional<spec::TensorRef>& ref, double offset) {
    if (!ref) return {};
    const HostTensor t = to_f32(packed_.tensor(*ref));
    const auto values = t.as<float>();
    std::vector<float> out(values.begin(), values.end());
    if (offset != 0)
      for (float& v : out) v += static_cast<float>(offset);
    memory_.weights += out.size() * sizeof(float);
    return out;
  }

  RowOp row_op(const Op& op) {
    RowOp row;
    if (!op.in.empty()) row.a = operand(op.in[0]);
    if (op.in.size() > 1) row.b = operand(op.in[1]);
    row.out.width = row.a.width;
    if (const auto* e = std::get_if<spec::Embed>(&op.params)) {
      row.op = EmbedOp{e->index, table(e->table), static_cast<float>(e->scale), e->offset};
      row.out.width = e->table.shape[1];
    } else if (const auto* n = std::get_if<spec::Norm>(&op.params)) {
      NormOp norm{n->kind, n->width, static_cast<float>(n->eps),
                  vector_of(n->weight, n->weight_offset), vector_of(n->bias, 0)};
      if (norm.weight.empty()) norm.weight.assign(static_cast<size_t>(n->width), 1.0f);
      row.op = std::move(norm);
    } else if (const auto* a = std::get_if<spec::Activation>(&op.params)) {
      row.op = ActivationOp{a->kind};
    } else if (std::holds_alternative<spec::Multiply>(op.params)) {
      row.op = MultiplyOp{};
    } else {
      row.op = AddOp{};
    }
    return row;
  }

  std::shared_ptr<const RowTable> table(const spec::TensorRef& ref) {
    for (const Op& op : spec_.epilogue.ops) {
      const auto head = heads_.find(op.name);
      if (head == heads_.end() || std::get<spec::Linear>(op.params).weight.name != ref.name)
        continue;
      // Rounded at load, it stands for the table too: one copy in memory, no pages of the file.
      if (head->second.weights->dense() || options_.head_bits != 0)
        return table_of(head->second.weights);
    }
    const auto& source = packed_.checkpoint().tensors;
    const files::TensorInfo* info = source->find(ref.name);
    const bool floats =
        info != nullptr &&
        (info->dtype == DType::f32 || info->dtype == DType::f16 || info->dtype == DType::bf16);
    if (!floats || info->shape != ref.shape)
      throw FileError(
          info == nullptr ? Code::missing : Code::mismatch, packed_.checkpoint().path,
          "tensor " + quote(ref.name) + " is not a table of floats " + to_string(ref.shape));
    return table_of(source, ref.name, &memory_.mapped, &memory_.tables);
  }

  const pack::PackedModel& packed_;
  const spec::ModelSpec& spec_;
  const LoadOptions& options_;
  const TilesInMemory& in_memory_;
  const Context& context_;
  MemoryUse& memory_;
  std::optional<TileCache> cache_;
  kernel::TileMemory tiles_;
  std::unique_ptr<Program> program_;
  std::map<std::string, TiledLinear> heads_;
  struct Ahead {
    TiledLinear linear;
    std::exception_ptr error;
  };
  std::map<std::string, Ahead> ahead_;
  std::vector<Value> values_;
  std::vector<int32_t> free_;
  int64_t low_bit_ = 0, paired_ = 0;  // linears
  int64_t inputs_ = 0;                // values that linears read
};

}  // namespace

std::unique_ptr<Program> compile(const pack::PackedModel& packed, const LoadOptions& options,
                                 const TilesInMemory& in_memory, const Context& context,
                                 MemoryUse& memory) {
  return Compiler(packed, options, in_memory, context, memory).run();
}

std::map<std::string, TiledLinear> tiled_linears(const Program& program) {
  std::map<std::string, TiledLinear> out;
  const auto add = [&](const SegmentProgram& segment) {
    for (const Step& step : segment.steps) {
      const auto* linear = std::get_if<LinearStep>(&step.what);
      for (size_t i = 0; linear != nullptr && i < linear->jobs.size(); ++i) {
        const LinearJob& job = linear->jobs[i];
        out.emplace(linear->ops[i],
                    TiledLinear{job.weights, linear->preparations[job.preparation], job.bias});
      }
    }
  };
  add(program.prologue);
  for (const SegmentProgram& block : program.blocks) add(block);
  add(program.epilogue);
  return out;
}

}  // namespace halftone::runtime
