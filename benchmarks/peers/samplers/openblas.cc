// openblas [THREADS]: cblas_sgemm (m > 1) or cblas_sgemv (m = 1) of f32 weights, behind serve.h.
#include <cblas.h>

#include <cstdlib>
#include <memory>
#include <random>

#include "benchmarks/peers/samplers/serve.h"

namespace {

using halftone::benchmark::Prepared;
using halftone::benchmark::Product;

class Memory {
 public:
  explicit Memory(int64_t floats)
      : bytes_(static_cast<size_t>(floats) * sizeof(float)),
        data_(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (data_ == MAP_FAILED) throw std::bad_alloc();
    halftone::benchmark::ask_for_large_pages(data_, static_cast<int64_t>(bytes_));
  }
  ~Memory() { munmap(data_, bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  float* data() const { return static_cast<float*>(data_); }

 private:
  size_t bytes_;
  void* data_;
};

Prepared prepare(const Product& p) {
  if (p.name != "f32") throw std::runtime_error("no such weights: " + p.name);
  const int64_t count = p.n * p.k, copies = p.copies(count * 4);
  auto w = std::make_shared<Memory>(count * copies), x = std::make_shared<Memory>(p.m * p.k);
  auto y = std::make_shared<std::vector<float>>(static_cast<size_t>(p.m * p.n));
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < p.m * p.k; ++i) x->data()[i] = normal(random);
  for (int64_t i = 0; i < count; ++i) w->data()[i] = static_cast<float>(random()) * 0x1p-32f - 0.5f;
  for (int64_t i = 1; i < copies; ++i) std::copy_n(w->data(), count, w->data() + i * count);
  const auto n = static_cast<int>(p.n), k = static_cast<int>(p.k), m = static_cast<int>(p.m);
  const auto run = [=](int64_t call) {
    const float* from = w->data() + call % copies * count;
    if (m == 1)
      cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1, from, k, x->data(), 1, 0, y->data(), 1);
    else
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, x->data(), k, from, k, 0,
                  y->data(), n);
  };
  run(0);
  std::vector<double> expected(static_cast<size_t>(std::min<int64_t>(64, p.n)));
  for (size_t i = 0; i < expected.size(); ++i)
    for (int64_t j = 0; j < p.k; ++j)
      expected[i] += double{w->data()[static_cast<int64_t>(i) * p.k + j]} * x->data()[j];
  halftone::benchmark::expect_near(*y, expected, 1e-4);
  return {run,
          {{"bytes", count * 4},
           {"path", openblas_get_corename()},
           {"features", openblas_get_config()}}};
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  openblas_set_num_threads(threads);
  return halftone::benchmark::serve(threads, prepare);
}
