#include <algorithm>
#include <cmath>
#include <numbers>

#include "halftone/base/error.h"
#include "halftone/files/gguf.h"
#include "halftone/files/model_folder.h"
#include "halftone/spec/checkpoint.h"
#include "halftone/spec/family.h"
#include "halftone/spec/gguf_config.h"
#include "halftone/spec/unused_tensors.h"

namespace halftone::spec {
namespace {

// GGUF tensors under Hugging Face names, laid out as Hugging Face does.
class GgufAsHf : public files::TensorSource {
 public:
  GgufAsHf(std::shared_ptr<const files::TensorSource> inner, const Family& family,
           const Json& config, const ModelSpec& model, const std::string& path)
      : inner_(std::move(inner)) {
    for (const TensorRef& ref : spec::tensors(model)) {
      const auto place = family.gguf_tensor(ref.name, config);
      if (!place)
        throw FileError(Code::missing, path,
                        "the family does not know where GGUF keeps " + quote(ref.name));
      const files::TensorInfo* found = inner_->find(place->name);
      if (found == nullptr)
        throw FileError(Code::missing, path, "tensor " + quote(place->name) + " is missing");
      files::TensorInfo info = *found;
      info.name = ref.name;
      if (place->undo == GgufTensor::Undo::transpose && info.shape.size() == 2)
        std::swap(info.shape[0], info.shape[1]);
      if (info.shape != ref.shape)
        throw FileError(Code::mismatch, path,
                        "tensor " + quote(place->name) + " has shape " + to_string(info.shape) +
                            ", the metadata says " + to_string(ref.shape));
      infos_.push_back(std::move(info));
      places_.push_back(*place);
    }
  }

  const std::vector<files::TensorInfo>& tensors() const override { return infos_; }
  const files::TensorInfo* find(const std::string& name) const override {
    const auto i = index(name);
    return i < 0 ? nullptr : &infos_[static_cast<size_t>(i)];
  }
  HostTensor read(const std::string& name) const override {
    const GgufTensor& place = place_of(name);
    HostTensor raw = inner_->read(place.name);
    if (place.undo == GgufTensor::Undo::none) return raw;
    return place.undo == GgufTensor::Undo::transpose ? transposed(raw)
                                                     : unpermuted(raw, place.heads);
  }
  HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const override {
    const GgufTensor& place = place_of(name);
    if (place.undo == GgufTensor::Undo::none) return inner_->read_rows(place.name, begin, end);
    const HostTensor whole = read(name);
    Shape shape = whole.shape();
    const size_t row = whole.bytes().size() / static_cast<size_t>(shape[0]);
    shape[0] = end - begin;
    HostTensor out(whole.dtype(), shape);
    std::copy_n(whole.bytes().data() + row * static_cast<size_t>(begin), out.bytes().size(),
                out.bytes().data());
    return out;
  }
  std::span<const std::byte> mapped(const std::string& name) const override {
    const GgufTensor& place = place_of(name);
    if (place.undo != GgufTensor::Undo::none) return {};
    return inner_->mapped(place.name);
  }
  void forget(const std::string& name, std::span<const std::byte> part) const override {
    inner_->forget(place_of(name).name, part);
  }

 private:
  int64_t index(const std::string& name) const {
    for (size_t i = 0; i < infos_.size(); ++i)
      if (infos_[i].name == name) return static_cast<int64_t>(i);
    return -1;
  }
  const GgufTensor& place_of(const std::string& name) const {
    const auto i = index(name);
    if (i < 0) throw FileError(Code::missing, {}, "tensor " + quote(name) + " is missing");
    return places_[static_cast<size_t>(i)];
  }
  static HostTensor transposed(const HostTensor& in) {
    if (in.shape().size() != 2) return in.clone();
    const int64_t rows = in.dim(0), cols = in.dim(1);
    const auto size = static_cast<size_t>(dtype_bytes(in.dtype()));
    HostTensor out(in.dtype(), {cols, rows});
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        std::copy_n(in.bytes().data() + static_cast<size_t>(r * cols + c) * size, size,
                    out.bytes().data() + static_cast<size_t>(c * rows + r) * size);
    return out;
  }
  // GGUF row h*hd + 2i + j is Hugging Face row h*hd + j*(hd/2) + i.
  static HostTensor unpermuted(const HostTensor& in, int64_t heads) {
    HostTensor out(in.dtype(), in.shape());
    const size_t row = in.bytes().size() / static_cast<size_t>(in.dim(0));
    const int64_t dim = in.dim(0) / heads;
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < dim / 2; ++i)
        for (int64_t j = 0; j < 2; ++j)
          std::copy_n(in.bytes().data() + static_cast<size_t>(h * dim + 2 * i + j) * row, row,
                      out.bytes().data() + static_cast<size_t>(h * dim + j * (dim / 2) + i) * row);
    return out;
  }

  std::shared_ptr<const files::TensorSource> inner_;
  std::vector<files::TensorInfo> infos_;
  std::vector<GgufTensor> places_;
};

const Named<Family>& family_of(const files::GgufFile& file) {
  const std::string architecture = file.text("general.architecture");
  std::vector<std::string> known;
  for (const auto& row : entries()) {
    for (const std::string& name : row.entry.gguf_architectures) {
      if (name == architecture) return row;
      known.push_back(name);
    }
  }
  throw UnsupportedError(file.path, "GGUF architecture " + quote(architecture) + " is not known",
                         "known: " + listed(known));
}

// Factor of frequency i of n by LLaMA 3's rule (Dubey et al. 2024, and transformers' "llama3").
double llama3_factor(double theta, size_t i, size_t n, double factor, double low, double high,
                     double original) {
  const double wavelength =
      2 * std::numbers::pi * std::pow(theta, static_cast<double>(i) / static_cast<double>(n));
  if (wavelength > original / low) return factor;
  if (wavelength < original / high) return 1;
  const double smooth = (original / wavelength - low) / (high - low);
  return 1 / ((1 - smooth) / factor + smooth);
}

// LLaMA 3 in GGUF keeps its rope scaling as a tensor of factors. config.json wants the rule's
// parameters, so those are looked for that reproduce the factors: the context lengths of training
// are powers of two, the limits 1 and 4 (others for safety).
void add_rope_factors(const files::GgufFile& file, const files::TensorSource& tensors,
                      Json& config) {
  if (file.find_tensor("rope_freqs.weight") == nullptr) return;
  const HostTensor stored = to_f32(tensors.read("rope_freqs.weight"));
  const auto given = stored.as<float>();
  const double factor = static_cast<double>(*std::max_element(given.begin(), given.end()));
  if (factor == 1.0) return;
  const double theta = config.value("rope_theta", 10000.0);
  const auto fits = [&](double low, double high, double original) {
    for (size_t i = 0; i < given.size(); ++i) {
      const double expected = llama3_factor(theta, i, given.size(), factor, low, high, original);
      if (std::abs(expected - static_cast<double>(given[i])) > 1e-4 * expected) return false;
    }
    return true;
  };
  for (const double high : {4.0, 2.0, 8.0, 16.0, 32.0}) {
    for (double original = 16; original <= 1 << 20; original *= 2) {
      if (!fits(1, high, original)) continue;
      config["rope_scaling"] = {
          {"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", high},
          {"original_max_position_embeddings", static_cast<int64_t>(original)}};
      return;
    }
  }
  throw UnsupportedError(file.path, "its rope_freqs do not follow LLaMA 3's rule",
                         "use the Hugging Face folder of the model");
}

}  // namespace

Checkpoint open_gguf(const std::string& model, const std::string& path, const Context& context) {
  Checkpoint checkpoint;
  checkpoint.name = model;
  const files::WeightFiles weights = files::find_weights(path, context);
  if (weights.kind != files::WeightFiles::Kind::gguf)
    throw FileError(Code::missing, path, "has no config.json", {},
                    path == weights.path ? "give the folder that it lies in"
                                         : "give a Hugging Face folder or a .gguf file");
  checkpoint.gguf = files::open_gguf(weights.path, context);
  checkpoint.path = checkpoint.gguf->path;
  const auto& family = family_of(*checkpoint.gguf);
  const auto raw = files::gguf_tensors(checkpoint.gguf);
  checkpoint.config = family.entry.config_from_gguf(*checkpoint.gguf);
  add_rope_factors(*checkpoint.gguf, *raw, checkpoint.config);
  checkpoint.spec = family.entry.assemble(checkpoint.config, checkpoint.path);
  checkpoint.spec.family = family.name;
  validate(checkpoint.spec, checkpoint.path);
  checkpoint.tensors = std::make_shared<GgufAsHf>(raw, family.entry, checkpoint.config,
                                                  checkpoint.spec, checkpoint.path);
  TensorUse use;
  use.config = "its metadata";
  use.block_prefix = "blk.";
  use.block_key = checkpoint.gguf->text("general.architecture") + ".block_count";
  use.blocks = static_cast<int64_t>(checkpoint.spec.blocks.size());
  for (const TensorRef& ref : spec::tensors(checkpoint.spec)) {
    const std::string name = family.entry.gguf_tensor(ref.name, checkpoint.config)->name;
    use.used.insert(name);
    use.modules.insert(name.substr(0, name.rfind('.')));
  }
  check_unused(use, family.entry.harmless, *raw, context);
  return checkpoint;
}

std::shared_ptr<const files::TensorSource> gguf_steps(const Checkpoint& checkpoint) {
  return std::make_shared<GgufAsHf>(files::gguf_tensors(checkpoint.gguf, files::GgufRead::steps),
                                    family_of(*checkpoint.gguf).entry, checkpoint.config,
                                    checkpoint.spec, checkpoint.path);
}

}  // namespace halftone::spec
