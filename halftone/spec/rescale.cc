#include "halftone/spec/rescale.h"

#include <cmath>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/rng.h"
#include "halftone/files/safetensors.h"
#include "halftone/spec/fold_graph.h"

namespace halftone::spec {
namespace {

void multiply(std::vector<double>& into, int64_t index, int64_t size, double factor) {
  if (into.empty()) into.assign(static_cast<size_t>(size), 1.0);
  into[static_cast<size_t>(index)] *= factor;
}

}  // namespace

std::map<std::string, TensorScale> random_fold_scales(const ModelSpec& spec, uint64_t seed,
                                                      double sigma) {
  std::map<std::string, TensorScale> scales;
  const auto folds = fold_graph(spec);
  for (size_t f = 0; f < folds.size(); ++f) {
    const Fold& fold = folds[f];
    const CounterRng rng(seed, static_cast<uint32_t>(f));
    std::vector<double> factor;
    for (int64_t j = 0; j < fold.channels; ++j)
      factor.push_back(std::exp(sigma * rng.normal(static_cast<uint64_t>(j))));
    const Op& producer = *find_op(spec, fold.producer);
    std::vector<const TensorRef*> produced;
    if (const auto* norm = std::get_if<Norm>(&producer.params)) {
      check(norm->weight_offset == 0,
            "a norm with a weight offset cannot be scaled by its weight alone");
      produced.push_back(&*norm->weight);
      if (norm->bias) produced.push_back(&*norm->bias);
    } else {
      const auto& linear = std::get<Linear>(producer.params);
      produced.push_back(&linear.weight);
      if (linear.bias) produced.push_back(&*linear.bias);
    }
    for (const TensorRef* ref : produced)
      for (int64_t j = 0; j < fold.channels; ++j)
        multiply(scales[ref->name].row, fold.producer_row[static_cast<size_t>(j)], fold.channels,
                 factor[static_cast<size_t>(j)]);
    for (const Fold::Consumer& consumer : fold.consumers) {
      const auto& linear = std::get<Linear>(find_op(spec, consumer.linear)->params);
      for (int64_t k = 0; k < linear.in; ++k)
        multiply(scales[linear.weight.name].column, k, linear.in,
                 1.0 / factor[static_cast<size_t>(consumer.channel[static_cast<size_t>(k)])]);
    }
  }
  return scales;
}

void write_rescaled(const Checkpoint& checkpoint, uint64_t seed, double sigma,
                    const std::string& folder, const Context& context,
                    const std::function<void(const std::string&)>& add_files) {
  Env& env = *context.env;
  const auto scales = random_fold_scales(checkpoint.spec, seed, sigma);
  std::vector<files::TensorDecl> declared;
  std::map<std::string, TensorRef> refs;
  for (const TensorRef& ref : tensors(checkpoint.spec)) {
    declared.push_back({ref.name, DType::f32, ref.shape});
    refs[ref.name] = ref;
  }
  const std::string temporary = folder + ".tmp";
  env.remove_tree(temporary);
  env.make_directories(temporary);
  try {
    files::SafetensorsWriter writer(env, join_path(temporary, "model.safetensors"), declared);
    double done = 0;
    for (const auto& tensor : writer.order()) {
      context.throw_if_stopped();
      HostTensor values = to_f32(checkpoint.tensors->read(tensor.name));
      if (const auto it = scales.find(tensor.name); it != scales.end()) {
        const auto& [row, column] = it->second;
        const bool transposed = refs[tensor.name].transposed;
        const int64_t cols = values.shape().size() == 2 ? values.dim(1) : 1;
        const auto w = values.as<float>();
        for (int64_t i = 0; i < values.count(); ++i) {
          int64_t r = i / cols, c = i % cols;
          if (transposed) std::swap(r, c);
          double x = static_cast<double>(w[static_cast<size_t>(i)]);
          if (!row.empty()) x *= row[static_cast<size_t>(r)];
          if (!column.empty()) x *= column[static_cast<size_t>(c)];
          w[static_cast<size_t>(i)] = static_cast<float>(x);
        }
      }
      writer.write(tensor.name, values);
      done += static_cast<double>(values.count());
      context.progress({"rescale", tensor.name, done,
                        static_cast<double>(parameter_count(checkpoint.spec)), ""});
    }
    writer.finish();
    Json config = checkpoint.config;
    config["torch_dtype"] = "float32";
    write_atomically(env, join_path(temporary, "config.json"), config.dump(2) + "\n");
    add_files(temporary);
    env.sync_directory(temporary);
    env.remove_tree(folder);
    env.rename(temporary, folder);
    env.sync_directory(parent_path(folder));
  } catch (...) {
    env.remove_tree(temporary);
    throw;
  }
}

}  // namespace halftone::spec
