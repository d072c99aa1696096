// float_lookup [THREADS]: nf4 and fp4 weights (groups of 64, f16 scales) times f32 activations by the
// plain good way on AVX2: a code's value is looked up as a float, and multiplied by a float.
// Behind serve.h; decode only.
//
// Layout of a row: 32 bytes hold 64 codes, lane r of 32 bits the 8 codes k = 8 i + r, so that a shift
// by 4 i leaves the codes of 8 consecutive k in the low bits of 8 lanes. 16 values are two registers of
// 8: both are permuted by the low 3 bits, the 4th chooses. Four rows at once are four streams of memory.
#include <immintrin.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <random>

#include "benchmarks/peers/samplers/serve.h"

namespace {

using halftone::benchmark::Prepared;
using halftone::benchmark::Product;

constexpr int64_t kGroup = 64, kRows = 4;
using Book = std::array<float, 16>;
constexpr Book kNf4 = {-1.0f,      -0.696193f, -0.525073f, -0.394917f, -0.284441f, -0.184773f,
                       -0.091050f, 0.0f,       0.079580f,  0.160930f,  0.246112f,  0.337915f,
                       0.440710f,  0.562617f,  0.722956f,  1.0f};
constexpr Book kFp4 = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                       -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

struct View {
  const uint8_t* codes;    // [n][k / 2]
  const uint16_t* scales;  // [n][k / 64], f16
  int64_t n, k;
};

float sum(__m256 v) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

// Rows [begin, end), a multiple of kRows of them.
void multiply(const View& w, const Book& book, const float* x, float* y, int64_t begin,
              int64_t end) {
  const __m256 low = _mm256_loadu_ps(book.data()), high = _mm256_loadu_ps(book.data() + 8);
  const int64_t groups = w.k / kGroup;
  for (int64_t n = begin; n < end; n += kRows) {
    __m256 total[kRows] = {};
    for (int64_t g = 0; g < groups; ++g) {
      __m256i codes[kRows];
      __m256 part[kRows] = {};
      for (int64_t r = 0; r < kRows; ++r)
        codes[r] = _mm256_loadu_si256(
            reinterpret_cast<const __m256i*>(w.codes + ((n + r) * groups + g) * (kGroup / 2)));
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        const __m256 xs = _mm256_loadu_ps(x + g * kGroup + 8 * i);
#pragma GCC unroll 4
        for (int64_t r = 0; r < kRows; ++r) {
          const __m256i index = _mm256_srli_epi32(codes[r], 4 * i);
          const __m256 choose = _mm256_castsi256_ps(_mm256_slli_epi32(codes[r], 28 - 4 * i));
          const __m256 value = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index),
                                                _mm256_permutevar8x32_ps(high, index), choose);
          part[r] = _mm256_fmadd_ps(value, xs, part[r]);
        }
      }
      for (int64_t r = 0; r < kRows; ++r)
        total[r] = _mm256_fmadd_ps(_mm256_set1_ps(_cvtsh_ss(w.scales[(n + r) * groups + g])),
                                   part[r], total[r]);
    }
    for (int64_t r = 0; r < kRows; ++r) y[n + r] = sum(total[r]);
  }
}

class Memory {
 public:
  explicit Memory(int64_t bytes)
      : bytes_(static_cast<size_t>(bytes)),
        data_(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (data_ == MAP_FAILED) throw std::bad_alloc();
    halftone::benchmark::ask_for_large_pages(data_, bytes);
  }
  ~Memory() { munmap(data_, bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  uint8_t* data() const { return static_cast<uint8_t*>(data_); }

 private:
  size_t bytes_;
  void* data_;
};

Prepared prepare(int64_t threads, const Product& p) {
  if (p.name != "nf4 g64" && p.name != "fp4 g64")
    throw std::runtime_error("no such weights: " + p.name);
  if (p.m != 1 || p.k % kGroup != 0 || p.n % (kRows * threads) != 0)
    throw std::runtime_error("wants one row of activations and whole groups");
  const Book& book = p.name == "nf4 g64" ? kNf4 : kFp4;
  const int64_t code_bytes = p.n * p.k / 2, bytes = code_bytes + p.n * p.k / kGroup * 2,
                stride = (bytes + 63) / 64 * 64, copies = p.copies(bytes);
  auto memory = std::make_shared<Memory>(stride * copies);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < code_bytes; ++i) memory->data()[i] = static_cast<uint8_t>(random());
  auto* scales = reinterpret_cast<uint16_t*>(memory->data() + code_bytes);
  for (int64_t i = 0; i < p.n * p.k / kGroup; ++i)
    scales[i] = _cvtss_sh(0.0078125f * static_cast<float>(1 + i % 5), 0);
  for (int64_t i = 1; i < copies; ++i)
    std::copy_n(memory->data(), bytes, memory->data() + i * stride);
  auto x = std::make_shared<std::vector<float>>(static_cast<size_t>(p.k));
  auto y = std::make_shared<std::vector<float>>(static_cast<size_t>(p.n));
  for (float& v : *x) v = normal(random);
  const auto view = [=](int64_t copy) {
    const uint8_t* from = memory->data() + copy * stride;
    return View{from, reinterpret_cast<const uint16_t*>(from + code_bytes), p.n, p.k};
  };
  const auto run = [=, &book](int64_t call) {
    const View w = view(call % copies);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int64_t t = 0; t < threads; ++t)
      multiply(w, book, x->data(), y->data(), p.n / threads * t, p.n / threads * (t + 1));
  };
  run(0);
  std::vector<double> expected(64);
  for (size_t n = 0; n < expected.size(); ++n)
    for (int64_t k = 0; k < p.k; ++k) {
      const int64_t at = static_cast<int64_t>(n) * p.k / 2 + k / kGroup * (kGroup / 2) + k % 8 * 4 +
                         k % kGroup / 8 / 2;
      const int code = view(0).codes[at] >> (4 * (k / 8 % 2)) & 15;
      const int64_t group = (static_cast<int64_t>(n) * p.k + k) / kGroup;
      expected[n] += double{book[static_cast<size_t>(code)]} * _cvtsh_ss(view(0).scales[group]) *
                     (*x)[static_cast<size_t>(k)];
    }
  halftone::benchmark::expect_near(*y, expected, 1e-4);
  return {run, {{"bytes", bytes}, {"path", "AVX2 permutes"}}};
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t threads = argc > 1 ? std::atoi(argv[1]) : 1;
  return halftone::benchmark::serve(
      threads, [threads](const Product& product) { return prepare(threads, product); });
}
