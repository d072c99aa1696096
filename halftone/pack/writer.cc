#include "halftone/pack/writer.h"

#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/pack/bits.h"

namespace halftone::pack {
namespace {

using format::Codes;
using format::Format;
using format::Granularity;
using Named = std::vector<std::pair<std::string, HostTensor>>;

HostTensor floats(std::span<const float> values, Shape shape, DType dtype) {
  HostTensor out(DType::f32, std::move(shape));
  std::copy(values.begin(), values.end(), out.as<float>().begin());
  return dtype == DType::f32 ? std::move(out) : from_f32(out, dtype);
}

std::string divisors_near(int64_t k, int64_t group) {
  std::string out;
  for (int64_t g : {128, 64, 32})
    if (g < group && k % g == 0) out += (out.empty() ? "" : " or ") + std::to_string(g);
  return out.empty() ? "one scale a row" : "group " + out;
}

std::string shape_text(int64_t n, int64_t k) {
  return std::to_string(n) + " x " + std::to_string(k);
}

// Why `layout` cannot hold an [n, k] linear of this format: {fact, remedy}, empty when it can.
std::pair<std::string, std::string> clash(const Format& f, int64_t n, int64_t k, bool transposed,
                                          Layout layout, int64_t gptq_version) {
  if (const std::string& type = format::kind_of(f).type; type != "int")
    return {"packed folders hold integers, " + f.label() + " has values of type " + type,
            "use format kind int"};
  if (layout == Layout::halftone) return {};
  const bool short_group = f.granularity == Granularity::group && k % f.group != 0;
  const std::string name = layout == Layout::gptq ? "the GPTQ layout" : "compressed-tensors";
  if (short_group)
    return {name + " cannot hold group " + std::to_string(f.group) + " on K = " + std::to_string(k),
            "use " + divisors_near(k, f.group) + ", or keep the halftone layout"};
  if (layout == Layout::compressed_tensors) {
    if (transposed)
      return {"compressed-tensors cannot hold a Conv1D weight", "keep the halftone layout"};
    return {};
  }
  if (f.bits != 2 && f.bits != 3 && f.bits != 4 && f.bits != 8)
    return {"the GPTQ layout cannot hold " + std::to_string(f.bits) + " bits",
            "use 2, 3, 4 or 8, or keep the halftone layout"};
  if (f.granularity == Granularity::tensor)
    return {"the GPTQ layout has no scale per tensor",
            "use one scale a row, or keep the halftone layout"};
  if (f.scale_dtype != DType::f16)
    return {"the GPTQ layout stores f16 scales, the format has " +
                std::string(dtype_name(f.scale_dtype)),
            "set scale_dtype: f16"};
  const int64_t step = f.bits == 3 ? 32 : 32 / f.bits;
  if (k % step != 0 || n % step != 0)
    return {"the GPTQ layout needs both sides of a " + std::to_string(f.bits) +
                "-bit weight to be multiples of " + std::to_string(step) + ", this one is " +
                shape_text(n, k),
            "keep it dense, or keep the halftone layout"};
  if (gptq_version == 1 && !f.symmetric)
    return {"GPTQ v1 stores zero - 1 and loses a zero of 0 of an asymmetric format",
            "use layout gptq_v2, or a symmetric format"};
  return {};
}

Named compressed(const DecoratedLinear& linear) {
  const Codes& c = linear.codes();
  const int64_t words = packed_words(c.cols, c.format.bits);
  Named out;
  HostTensor packed(DType::i32, {c.rows, words});
  for (int64_t n = 0; n < c.rows; ++n)
    pack_codes(
        std::span(c.codes).subspan(static_cast<size_t>(n * c.cols), static_cast<size_t>(c.cols)),
        c.format.bits,
        packed.as<uint32_t>().subspan(static_cast<size_t>(n * words), static_cast<size_t>(words)));
  out.emplace_back(linear.name + ".weight_packed", std::move(packed));
  const bool one = c.format.granularity == Granularity::tensor;
  out.emplace_back(
      linear.name + ".weight_scale",
      floats(c.scales, one ? Shape{1} : Shape{c.rows, c.groups()}, c.format.scale_dtype));
  HostTensor shape(DType::i64, {2});
  shape.as<int64_t>()[0] = c.rows;
  shape.as<int64_t>()[1] = c.cols;
  out.emplace_back(linear.name + ".weight_shape", std::move(shape));
  if (!c.zeros.empty() && one) {  // a lone zero is stored as it is, signed
    HostTensor zero(DType::i8, {1});
    zero.as<int8_t>()[0] = static_cast<int8_t>(int{c.zeros[0]} - (1 << (c.format.bits - 1)));
    out.emplace_back(linear.name + ".weight_zero_point", std::move(zero));
  } else if (!c.zeros.empty()) {
    HostTensor zeros(DType::i32, {packed_words(c.rows, c.format.bits), c.groups()});
    pack_codes_down(c.zeros, c.groups(), c.format.bits, c.rows, zeros.as<uint32_t>());
    out.emplace_back(linear.name + ".weight_zero_point", std::move(zeros));
  }
  if (!c.column_group.empty()) {
    HostTensor groups(DType::i32, {c.cols});
    std::copy(c.column_group.begin(), c.column_group.end(), groups.as<int32_t>().begin());
    out.emplace_back(linear.name + ".weight_g_idx", std::move(groups));
  }
  if (!linear.input_scale.empty())
    out.emplace_back(linear.name + ".weight_input_scale",
                     floats(linear.input_scale, {c.cols}, DType::f32));
  return out;
}

Named gptq(const DecoratedLinear& linear, int64_t version) {
  const Codes& c = linear.codes();
  const int64_t bits = c.format.bits, groups = c.groups();
  Named out;
  HostTensor groups_of(DType::i32, {c.cols});
  for (int64_t k = 0; k < c.cols; ++k)
    groups_of.as<int32_t>()[static_cast<size_t>(k)] = static_cast<int32_t>(c.group_of(k));
  out.emplace_back(linear.name + ".g_idx", std::move(groups_of));

  // 32 codes fill `bits` words whatever the width, so columns are turned and packed in strips
  // of 32.
  HostTensor weight(DType::i32, {c.cols * bits / 32, c.rows});
  std::vector<uint8_t> strip(static_cast<size_t>(32 * c.rows));
  for (int64_t k = 0; k < c.cols; k += 32) {
    const int64_t count = std::min<int64_t>(32, c.cols - k);
    for (int64_t n = 0; n < c.rows; ++n)
      for (int64_t i = 0; i < count; ++i)
        strip[static_cast<size_t>(i * c.rows + n)] =
            c.codes[static_cast<size_t>(n * c.cols + k + i)];
    pack_codes_down(
        std::span(strip).first(static_cast<size_t>(count * c.rows)), c.rows, bits, count,
        weight.as<uint32_t>().subspan(static_cast<size_t>(k * bits / 32 * c.rows),
                                      static_cast<size_t>(packed_words(count, bits) * c.rows)));
  }
  out.emplace_back(linear.name + ".qweight", std::move(weight));

  const uint32_t mask = (1u << bits) - 1;
  HostTensor zeros(DType::i32, {groups, c.rows * bits / 32});
  std::vector<float> scales(static_cast<size_t>(groups * c.rows));
  std::vector<uint8_t> fields(static_cast<size_t>(c.rows));
  const int64_t words = c.rows * bits / 32;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t n = 0; n < c.rows; ++n) {
      fields[static_cast<size_t>(n)] = static_cast<uint8_t>(
          (static_cast<uint32_t>(c.zero(n, g)) - (version == 1 ? 1u : 0u)) & mask);
      scales[static_cast<size_t>(g * c.rows + n)] = c.scale(n, g);
    }
    pack_codes(
        fields, bits,
        zeros.as<uint32_t>().subspan(static_cast<size_t>(g * words), static_cast<size_t>(words)));
  }
  out.emplace_back(linear.name + ".qzeros", std::move(zeros));
  out.emplace_back(linear.name + ".scales", floats(scales, {groups, c.rows}, DType::f16));
  return out;
}

// Linears of the spec with what happens to them, and the formats in use: the most common one first.
struct Scheme {
  Format format;
  bool scattered = false;
  bool operator==(const Scheme&) const = default;
};
struct Members {
  Scheme scheme;
  std::vector<const spec::LinearRef*> linears;
};

std::vector<Members> by_scheme(const format::Plan& plan,
                               const std::vector<spec::LinearRef>& linears,
                               const std::set<std::string>& scattered) {
  std::vector<Members> out;
  for (const auto& ref : linears) {
    const Format* format = plan.find(ref.op->name, format::Port::weight);
    if (!format) continue;
    const Scheme scheme{*format, scattered.contains(ref.op->name)};
    auto it =
        std::find_if(out.begin(), out.end(), [&](const Members& m) { return m.scheme == scheme; });
    if (it == out.end()) it = out.insert(out.end(), {scheme, {}});
    it->linears.push_back(&ref);
  }
  std::stable_sort(out.begin(), out.end(), [](const Members& a, const Members& b) {
    return a.linears.size() > b.linears.size();
  });
  return out;
}

Json weight_args(const Scheme& s) {
  const Format& f = s.format;
  Json out = {{"num_bits", f.bits}, {"type", format::kind_of(f).type}, {"symmetric", f.symmetric}};
  out["strategy"] = f.granularity == Granularity::group ? "group"
                    : f.granularity == Granularity::row ? "channel"
                                                        : "tensor";
  out["group_size"] = f.granularity == Granularity::group ? Json(f.group) : Json(nullptr);
  out["block_structure"] = nullptr;
  out["dynamic"] = false;
  out["actorder"] = s.scattered ? Json("group") : Json(nullptr);
  out["observer"] = nullptr;
  out["observer_kwargs"] = Json::object();
  return out;
}

Json compressed_config(const std::vector<Members>& schemes,
                       const std::vector<spec::LinearRef>& linears, const format::Plan& plan,
                       Layout layout) {
  Json groups = Json::object();
  for (size_t i = 0; i < schemes.size(); ++i) {
    // The first group is named by class, so that a loader needs no list of names; the others by
    // module, which wins over class.
    Json targets = Json::array();
    if (i == 0) {
      const auto has = [&](bool transposed) {
        return std::any_of(
            schemes[0].linears.begin(), schemes[0].linears.end(),
            [&](const auto* ref) { return ref->linear().weight.transposed == transposed; });
      };
      if (has(false)) targets.push_back("Linear");
      if (has(true)) targets.push_back("Conv1D");
    } else {
      for (const auto* ref : schemes[i].linears) targets.push_back(ref->op->name);
    }
    groups["group_" + std::to_string(i)] = {{"targets", targets},
                                            {"weights", weight_args(schemes[i].scheme)},
                                            {"input_activations", nullptr},
                                            {"output_activations", nullptr},
                                            {"format", "pack-quantized"}};
  }
  Json ignore = Json::array();
  for (const auto& ref : linears)
    if (!plan.find(ref.op->name, format::Port::weight)) ignore.push_back(ref.op->name);
  return {{"quant_method", layout == Layout::halftone ? "halftone" : "compressed-tensors"},
          {"version", "0.18.0"},  // the first whose 3-bit codes lie densely
          {"format", "pack-quantized"},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"config_groups", groups},
          {"ignore", ignore},
          {"kv_cache_scheme", nullptr},
          {"sparsity_config", Json::object()},
          {"transform_config", Json::object()}};
}

std::string exact_regex(std::string_view prefix, const std::string& name) {
  std::string out(prefix);
  for (const char c : name) out += c == '.' ? std::string("\\.") : std::string(1, c);
  return out + "$";
}

Json gptq_config(const std::vector<Members>& schemes, const std::vector<spec::LinearRef>& linears,
                 const format::Plan& plan, int64_t version) {
  const auto group_size = [](const Format& f) {
    return f.granularity == Granularity::group ? f.group : -1;
  };
  const Scheme& base = schemes.at(0).scheme;
  const std::string layout = version == 1 ? "gptq" : "gptq_v2";
  Json dynamic = Json::object();
  for (size_t i = 1; i < schemes.size(); ++i)
    for (const auto* ref : schemes[i].linears)
      dynamic[exact_regex("+:", ref->op->name)] = {
          {"bits", schemes[i].scheme.format.bits},
          {"group_size", group_size(schemes[i].scheme.format)},
          {"sym", schemes[i].scheme.format.symmetric},
          {"desc_act", schemes[i].scheme.scattered}};
  bool head = false;
  for (const auto& ref : linears) {
    const bool planned = plan.find(ref.op->name, format::Port::weight) != nullptr;
    if (ref.linear().role == spec::Role::head) {
      head = planned;
    } else if (!planned) {
      dynamic[exact_regex("-:", ref.op->name)] = Json::object();
    }
  }
  Json out = {{"quant_method", "gptq"},
              {"bits", base.format.bits},
              {"group_size", group_size(base.format)},
              {"desc_act", base.scattered},
              {"sym", base.format.symmetric},
              {"lm_head", head},
              {"checkpoint_format", layout},
              {"format", layout},
              {"pack_dtype", "int32"},
              {"meta", {{"quantizer", {std::string("halftone:") + HALFTONE_VERSION}}}}};
  if (!dynamic.empty()) out["dynamic"] = dynamic;
  return out;
}

}  // namespace

Named tensors_of(const DecoratedLinear& linear, Layout layout, int64_t gptq_version) {
  Named out;
  if (!linear.quantized()) {
    out.emplace_back(linear.name + ".weight", linear.dense().clone());
  } else {
    // Whether the module is a Conv1D is a fact of the spec: check_layout looks at that.
    const auto [fact, remedy] =
        clash(linear.codes().format, linear.out, linear.in, false, layout, gptq_version);
    if (!fact.empty()) throw UnsupportedError("linear " + linear.name, fact, remedy);
    if (layout == Layout::compressed_tensors && !linear.codes().column_group.empty())
      throw UnsupportedError("linear " + linear.name,
                             "compressed-tensors holds no columns out of the order of their groups",
                             "round with static_groups: true, or keep the halftone layout");
    if (layout != Layout::halftone && !linear.input_scale.empty())
      throw UnsupportedError("linear " + linear.name,
                             "only the halftone layout holds a scale for each input",
                             "keep the halftone layout");
    out = layout == Layout::gptq ? gptq(linear, gptq_version) : compressed(linear);
  }
  if (!linear.bias.empty())
    out.emplace_back(linear.name + ".bias", floats(linear.bias, {linear.out}, DType::f32));
  return out;
}

std::string compressed_tensors_clash(const format::Plan& plan, const spec::ModelSpec& spec) {
  for (const auto& ref : spec::linears(spec))
    if (const Format* f = plan.find(ref.op->name, format::Port::weight))
      if (const auto c = clash(*f, ref.linear().out, ref.linear().in,
                               ref.linear().weight.transposed, Layout::compressed_tensors, 2);
          !c.first.empty())
        return ref.op->name + ": " + c.first + "; " + c.second;
  return {};
}

void check_layout(const format::Plan& plan, const spec::ModelSpec& spec, Layout layout,
                  int64_t gptq_version) {
  for (const auto& ref : spec::linears(spec))
    if (const Format* f = plan.find(ref.op->name, format::Port::weight)) {
      const auto [fact, remedy] = clash(*f, ref.linear().out, ref.linear().in,
                                        ref.linear().weight.transposed, layout, gptq_version);
      if (!fact.empty()) throw UnsupportedError("linear " + ref.op->name, fact, remedy);
    }
}

Json quantization_config(const format::Plan& plan, const spec::ModelSpec& spec, Layout layout,
                         int64_t gptq_version, const std::set<std::string>& scattered) {
  const auto linears = spec::linears(spec);
  const auto schemes = by_scheme(plan, linears, scattered);
  check(!schemes.empty(), "a plan without linears has no quantization_config");
  return layout == Layout::gptq ? gptq_config(schemes, linears, plan, gptq_version)
                                : compressed_config(schemes, linears, plan, layout);
}

}  // namespace halftone::pack
