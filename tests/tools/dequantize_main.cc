// Writes the weights that a packed model means, in f32 by Hugging Face names: what verify_packed.py
// and verify_gptq.py compare with.
//   dequantize MODEL OUT.safetensors
#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/files/safetensors.h"
#include "halftone/pack/packed_model.h"

namespace {

using namespace halftone;

void dequantize(const std::string& model, const std::string& output) {
  const auto env = posix_env();
  Context context;
  context.env = env.get();
  const auto packed = pack::open_model(model, context);
  std::vector<std::pair<std::string, HostTensor>> tensors;
  std::vector<std::string> modules;  // quantized: what the file says of them has been read
  for (const spec::LinearRef& ref : spec::linears(packed->checkpoint().spec)) {
    if (packed->plan().find(ref.op->name, format::Port::weight) == nullptr) continue;
    const spec::TensorRef& weight = ref.linear().weight;
    const Matrix<float> w = pack::effective_weight(packed->linear(*ref.op));
    HostTensor t(DType::f32,
                 {weight.transposed ? w.cols : w.rows, weight.transposed ? w.rows : w.cols});
    for (int64_t n = 0; n < w.rows; ++n)
      for (int64_t k = 0; k < w.cols; ++k)
        t.as<float>()[static_cast<size_t>(weight.transposed ? k * w.rows + n : n * w.cols + k)] =
            w.at(n, k);
    modules.push_back(weight.name.substr(0, weight.name.rfind('.') + 1));
    tensors.emplace_back(weight.name, std::move(t));
  }
  for (const files::TensorInfo& info : packed->checkpoint().tensors->tensors()) {
    const bool of_module = std::any_of(modules.begin(), modules.end(), [&](const std::string& m) {
      return info.name.starts_with(m);
    });
    if (!of_module || info.name.ends_with(".bias"))
      tensors.emplace_back(info.name, to_f32(packed->checkpoint().tensors->read(info.name)));
  }
  std::vector<std::pair<std::string, const HostTensor*>> named;
  for (const auto& [name, tensor] : tensors) named.emplace_back(name, &tensor);
  files::write_safetensors(*env, output, named);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("usage: dequantize MODEL OUT.safetensors\n", stderr), 2;
  try {
    dequantize(argv[1], argv[2]);
  } catch (const std::exception& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 1;
  }
  return 0;
}
