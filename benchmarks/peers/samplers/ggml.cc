// ggml [THREADS]: ggml_mul_mat on its CPU backend, behind serve.h. Uses its public headers only.
//
// Weights lie in the buffer type that llama.cpp would take for them when it loads a model: the first
// of the CPU's extra ones (CPU_REPACK: rows interleaved) that says it can multiply them, else the
// plain one. A thread pool lives through all calls, as in llama-bench.
#include "ggml.h"

#include <cstdlib>
#include <memory>
#include <random>

#include "benchmarks/peers/samplers/serve.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"

namespace {

using halftone::benchmark::Prepared;
using halftone::benchmark::Product;

constexpr int64_t kDistinctRows =
    64;  // quantized once, then repeated: time does not depend on them

template <auto free>
struct Free {
  void operator()(auto* p) const { free(p); }
};
using Context = std::unique_ptr<ggml_context, Free<ggml_free>>;
using Buffer = std::unique_ptr<ggml_backend_buffer, Free<ggml_backend_buffer_free>>;

ggml_type type_of(const std::string& name) {
  for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
    const char* known = ggml_type_name(static_cast<ggml_type>(i));
    if (known && std::equal(name.begin(), name.end(), known, known + std::strlen(known),
                            [](char a, char b) { return std::tolower(a) == std::tolower(b); }))
      return static_cast<ggml_type>(i);
  }
  throw std::runtime_error("ggml has no type " + name);
}

Context context(size_t tensors) {
  return Context(ggml_init({.mem_size = tensors * ggml_tensor_overhead() +
                                        tensors * ggml_graph_overhead_custom(8, false),
                            .mem_buffer = nullptr,
                            .no_alloc = true}));
}

ggml_backend_reg_t registry(ggml_backend_t backend) {
  return ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
}

// As select_weight_buft of llama.cpp: asks with a buffer of no bytes.
ggml_backend_buffer_type_t buffer_type(ggml_backend_t backend, ggml_type type, int64_t n,
                                       int64_t k) {
  const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
      ggml_backend_reg_get_proc_address(registry(backend), "ggml_backend_dev_get_extra_bufts"));
  const auto device = ggml_backend_get_device(backend);
  for (ggml_backend_buffer_type_t* one = extra ? extra(device) : nullptr; one && *one; ++one) {
    const Context scratch = context(8);
    ggml_tensor* w = ggml_new_tensor_2d(scratch.get(), type, k, n);
    ggml_tensor* x = ggml_new_tensor_2d(scratch.get(), GGML_TYPE_F32, k, 512);
    ggml_tensor* y = ggml_mul_mat(scratch.get(), w, x);
    const Buffer empty(ggml_backend_buft_alloc_buffer(*one, 0));
    w->buffer = empty.get();
    const bool can = ggml_backend_dev_supports_op(device, y);
    w->buffer = nullptr;
    if (can) return *one;
  }
  return ggml_backend_cpu_buffer_type();
}

std::string features(ggml_backend_t backend) {
  const auto get = reinterpret_cast<ggml_backend_get_features_t>(
      ggml_backend_reg_get_proc_address(registry(backend), "ggml_backend_get_features"));
  std::string out;
  for (ggml_backend_feature* f = get ? get(registry(backend)) : nullptr; f && f->name; ++f)
    out += (out.empty() ? "" : " ") + std::string(f->name);
  return out;
}

struct Problem {
  Context context;
  Buffer weights, values;
  ggml_backend_t backend;
  std::vector<ggml_cgraph*> graphs;

  void run(int64_t call) {
    ggml_backend_graph_compute(backend, graphs[static_cast<size_t>(call) % graphs.size()]);
  }
};

Prepared prepare(ggml_backend_t backend, const Product& p) {
  const ggml_type type = type_of(p.name);
  if (p.k % ggml_blck_size(type) != 0)
    throw std::runtime_error(p.name + " wants rows of a multiple of " +
                             std::to_string(ggml_blck_size(type)));
  auto problem = std::make_shared<Problem>();
  problem->backend = backend;
  const size_t row = ggml_row_size(type, p.k);
  const int64_t bytes = static_cast<int64_t>(row) * p.n, copies = p.copies(bytes);
  problem->context = context(static_cast<size_t>(3 * copies + 1));
  ggml_context* c = problem->context.get();

  const ggml_backend_buffer_type_t buft = buffer_type(backend, type, p.n, p.k);
  const size_t align = ggml_backend_buft_get_alignment(buft);
  std::vector<ggml_tensor*> weights;
  for (int64_t i = 0; i < copies; ++i) weights.push_back(ggml_new_tensor_2d(c, type, p.k, p.n));
  const size_t each =
      (ggml_backend_buft_get_alloc_size(buft, weights[0]) + align - 1) / align * align;
  problem->weights.reset(ggml_backend_buft_alloc_buffer(buft, each * weights.size() + align));
  if (!problem->weights) throw std::runtime_error("no memory for the weights");
  auto* base = static_cast<char*>(ggml_backend_buffer_get_base(problem->weights.get()));
  halftone::benchmark::ask_for_large_pages(base, static_cast<int64_t>(each * weights.size()));
  for (size_t i = 0; i < weights.size(); ++i)
    ggml_backend_tensor_alloc(problem->weights.get(), weights[i], base + i * each);

  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const int64_t distinct = std::min(kDistinctRows, p.n);
  std::vector<float> dense(static_cast<size_t>(distinct * p.k));
  for (float& v : dense) v = 0.02f * normal(random);
  std::vector<char> packed(static_cast<size_t>(bytes));
  const std::vector<float> importance(static_cast<size_t>(p.k), 1.0f);
  ggml_quantize_chunk(type, dense.data(), packed.data(), 0, distinct, p.k, importance.data());
  for (int64_t n = distinct; n < p.n; ++n)
    std::copy_n(packed.data() + static_cast<size_t>(n % distinct) * row, row,
                packed.data() + static_cast<size_t>(n) * row);
  // The first copy goes through the buffer, which interleaves it; the others are the same bytes.
  ggml_backend_tensor_set(weights[0], packed.data(), 0, packed.size());
  for (size_t i = 1; i < weights.size(); ++i) std::memcpy(weights[i]->data, weights[0]->data, each);

  std::vector<ggml_tensor*> products;
  ggml_tensor* x = ggml_new_tensor_2d(c, GGML_TYPE_F32, p.k, p.m);
  for (ggml_tensor* w : weights) products.push_back(ggml_mul_mat(c, w, x));
  for (ggml_tensor* y : products) {
    problem->graphs.push_back(ggml_new_graph_custom(c, 8, false));
    ggml_build_forward_expand(problem->graphs.back(), y);
  }
  problem->values.reset(
      ggml_backend_alloc_ctx_tensors_from_buft(c, ggml_backend_cpu_buffer_type()));
  std::vector<float> values(static_cast<size_t>(p.k * p.m));
  for (float& v : values) v = normal(random);
  ggml_backend_tensor_set(x, values.data(), 0, values.size() * sizeof(float));

  // Against the dequantized rows in double: 8-bit activations may cost a percent.
  problem->run(0);
  std::vector<float> y(static_cast<size_t>(p.n * p.m)), line(static_cast<size_t>(p.k));
  ggml_backend_tensor_get(products[0], y.data(), 0, y.size() * sizeof(float));
  std::vector<double> expected;
  for (int64_t n = 0; n < distinct; ++n) {
    const char* from = packed.data() + static_cast<size_t>(n) * row;
    if (type == GGML_TYPE_F32)
      std::memcpy(line.data(), from, row);
    else
      ggml_get_type_traits(type)->to_float(from, line.data(), p.k);
    double sum = 0;
    for (size_t k = 0; k < line.size(); ++k) sum += double{line[k]} * values[k];
    expected.push_back(sum);
  }
  halftone::benchmark::expect_near(y, expected, 0.02);

  return {[problem](int64_t call) { problem->run(call); },
          {{"bytes", bytes},
           {"path", ggml_backend_buft_name(buft)},
           {"copies", copies},
           {"features", features(backend)}}};
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  ggml_backend_t backend = ggml_backend_cpu_init();
  ggml_backend_cpu_set_n_threads(backend, threads);
  ggml_threadpool_params params = ggml_threadpool_params_default(threads);
  ggml_threadpool* pool = ggml_threadpool_new(&params);
  ggml_backend_cpu_set_threadpool(backend, pool);
  const int status = halftone::benchmark::serve(
      threads, [&](const Product& product) { return prepare(backend, product); });
  ggml_backend_free(backend);
  ggml_threadpool_free(pool);
  return status;
}
