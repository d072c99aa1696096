// The operations of vector_ops.h over 16 lanes of an instruction set. A *_<isa>.cc file defines
// `struct Lanes` in its anonymous namespace and includes this there; so every copy is private to
// the flags it was compiled with, and all do the same arithmetic.
//
// Lanes: load(p), load(p, n, fill), store(p, v), store(p, v, n), set(x), add, sub, mul, div, sqrt,
// fma(a, b, c) = a * b + c, max(a, b) = a > b ? a : b, min(a, b) = a < b ? a : b (so b survives if
// either is NaN), exponent(r, n) = r * 2^n for integral n in -126..127, round (half to even),
// zero_unless_ge(x, limit, v) (NaN counts as ge), select_negative(x, a, b) = x < 0 ? a : b, abs,
// sum (tree), largest, store_f16(p, v, n), any_above(v, x), fraction(x) = x - floor(x), power(p, x,
// low) = x < low ? 0 : p * 2^floor(x) for low >= -126, round_bf16 (half to even, the low half of
// the bits zero), store_high(p, v, n) the high halves of the bits, store_high(p, a, b) those of 32
// lanes.

// e^x for x up to 88, 0 below -87.3: x = n ln2 + r, |r| <= ln2 / 2, then a polynomial of degree 6
// (Cephes).
inline Lanes::V exp_lanes(Lanes::V x) {
  const auto low = Lanes::set(-87.3f);
  const auto t = Lanes::min(Lanes::set(88.3f), Lanes::max(low, x));
  const auto n = Lanes::round(Lanes::mul(t, Lanes::set(1.44269504088896341f)));
  auto r = Lanes::fma(n, Lanes::set(-0.693359375f), t);
  r = Lanes::fma(n, Lanes::set(2.12194440e-4f), r);
  auto p = Lanes::set(1.9875691500e-4f);
  p = Lanes::fma(p, r, Lanes::set(1.3981999507e-3f));
  p = Lanes::fma(p, r, Lanes::set(8.3334519073e-3f));
  p = Lanes::fma(p, r, Lanes::set(4.1665795894e-2f));
  p = Lanes::fma(p, r, Lanes::set(1.6666665459e-1f));
  p = Lanes::fma(p, r, Lanes::set(5.0000001201e-1f));
  p = Lanes::fma(p, Lanes::mul(r, r), r);
  p = Lanes::add(p, Lanes::set(1.0f));
  return Lanes::zero_unless_ge(x, low, Lanes::exponent(p, n));
}

// x / (1 + e^-s)
inline Lanes::V times_sigmoid(Lanes::V x, Lanes::V s) {
  const auto e = exp_lanes(Lanes::sub(Lanes::set(0.0f), s));
  return Lanes::div(x, Lanes::add(Lanes::set(1.0f), e));
}

// x * Phi(x) = x * erfc(-x / sqrt 2) / 2; erfc by the Chebyshev fit of Numerical Recipes (relative
// error 1.2e-7).
inline Lanes::V gelu_lanes(Lanes::V x) {
  const auto z = Lanes::mul(Lanes::abs(x), Lanes::set(0.70710678118654752f));
  const auto t = Lanes::div(Lanes::set(1.0f), Lanes::fma(z, Lanes::set(0.5f), Lanes::set(1.0f)));
  auto p = Lanes::set(0.17087277f);
  constexpr float kFit[] = {-0.82215223f, 1.48851587f, -1.13520398f, 0.27886807f, -0.18628806f,
                            0.09678418f,  0.37409196f, 1.00002368f,  -1.26551223f};
  for (const float c : kFit) p = Lanes::fma(p, t, Lanes::set(c));
  p = Lanes::sub(p, Lanes::mul(z, z));
  const auto tail = Lanes::mul(Lanes::mul(t, exp_lanes(p)), Lanes::set(0.5f));  // Phi(-|x|)
  return Lanes::mul(x, Lanes::select_negative(x, tail, Lanes::sub(Lanes::set(1.0f), tail)));
}

// y[i] = f(lanes at i)
template <class F>
inline void each(int64_t n, float* y, const F& f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Lanes::store(y + i, f(i, 16));
  if (i < n) Lanes::store(y + i, f(i, n - i), n - i);
}

inline Lanes::V at(const float* p, int64_t i, int64_t n, float fill = 0) {
  return n >= 16 ? Lanes::load(p + i) : Lanes::load(p + i, n, fill);
}

template <class F>
inline float total(int64_t n, const F& f) {
  auto sum = Lanes::set(0.0f);
  for (int64_t i = 0; i < n; i += 16) sum = f(sum, i, n - i);
  return Lanes::sum(sum);
}

void rms_norm(const float* x, const float* weight, float epsilon, int64_t n, float* y) noexcept {
  const float squares = total(n, [&](Lanes::V sum, int64_t i, int64_t left) {
    const auto v = at(x, i, left);
    return Lanes::fma(v, v, sum);
  });
  const auto root = Lanes::sqrt(Lanes::set(squares / static_cast<float>(n) + epsilon));
  const auto factor = Lanes::div(Lanes::set(1.0f), root);
  each(n, y, [&](int64_t i, int64_t left) {
    return Lanes::mul(Lanes::mul(at(x, i, left), factor), at(weight, i, left));
  });
}

void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, int64_t n,
                float* y) noexcept {
  const float sum_x = total(
      n, [&](Lanes::V sum, int64_t i, int64_t left) { return Lanes::add(sum, at(x, i, left)); });
  const float middle = sum_x / static_cast<float>(n);
  const auto mean = Lanes::set(middle);
  const float squares = total(n, [&](Lanes::V sum, int64_t i, int64_t left) {
    const auto v = Lanes::sub(at(x, i, left, middle), mean);
    return Lanes::fma(v, v, sum);
  });
  const auto factor = Lanes::div(
      Lanes::set(1.0f), Lanes::sqrt(Lanes::set(squares / static_cast<float>(n) + epsilon)));
  each(n, y, [&](int64_t i, int64_t left) {
    const auto v = Lanes::mul(Lanes::sub(at(x, i, left), mean), factor);
    const auto b = bias != nullptr ? at(bias, i, left) : Lanes::set(0.0f);
    return Lanes::fma(v, at(weight, i, left), b);
  });
}

float max_of(const float* x, int64_t n) noexcept {
  auto most = Lanes::set(-__builtin_inff());
  for (int64_t i = 0; i < n; i += 16) most = Lanes::max(most, at(x, i, n - i, -__builtin_inff()));
  return Lanes::largest(most);
}

float exp_sum(const float* x, int64_t n, float scale, float max, float* y) noexcept {
  const auto s = Lanes::set(scale), m = Lanes::set(-max);
  auto sum = Lanes::set(0.0f);
  each(n, y, [&](int64_t i, int64_t left) {
    const auto e = exp_lanes(Lanes::fma(at(x, i, left, -__builtin_inff()), s,
                                        m));  // filled lanes add exp(-infinity) = 0
    sum = Lanes::add(sum, e);
    return e;
  });
  return Lanes::sum(sum);
}

void scale_by(const float* x, float a, int64_t n, float* y) noexcept {
  const auto v = Lanes::set(a);
  each(n, y, [&](int64_t i, int64_t left) { return Lanes::mul(at(x, i, left), v); });
}

void silu(const float* x, int64_t n, float* y) noexcept {
  each(n, y, [&](int64_t i, int64_t left) {
    const auto v = at(x, i, left);
    return times_sigmoid(v, v);
  });
}

void gelu_erf(const float* x, int64_t n, float* y) noexcept {
  each(n, y, [&](int64_t i, int64_t left) { return gelu_lanes(at(x, i, left)); });
}

void gelu_tanh(const float* x, int64_t n, float* y) noexcept {
  // 0.5 (1 + tanh u) = 1 / (1 + e^-2u)
  each(n, y, [&](int64_t i, int64_t left) {
    const auto v = at(x, i, left);
    const auto cubic = Lanes::fma(Lanes::mul(v, v), Lanes::set(0.044715f), Lanes::set(1.0f));
    return times_sigmoid(v, Lanes::mul(Lanes::mul(v, cubic), Lanes::set(1.5957691216057308f)));
  });
}

void tanh_of(const float* x, int64_t n, float* y) noexcept {
  // (1 - e) / (1 + e) with e = e^-2|x|; near 0 that cancels, so there the odd series takes over.
  each(n, y, [&](int64_t i, int64_t left) {
    const auto v = at(x, i, left), a = Lanes::abs(v);
    const auto e = exp_lanes(Lanes::mul(a, Lanes::set(-2.0f)));
    const auto one = Lanes::set(1.0f);
    const auto far = Lanes::div(Lanes::sub(one, e), Lanes::add(one, e));
    const auto q = Lanes::mul(a, a);
    auto p = Lanes::set(2.1869488536e-2f);  // 62/2835
    p = Lanes::fma(p, q, Lanes::set(-5.3968253968e-2f));
    p = Lanes::fma(p, q, Lanes::set(1.3333333333e-1f));
    p = Lanes::fma(p, q, Lanes::set(-3.3333333333e-1f));
    const auto near = Lanes::fma(Lanes::mul(p, q), a, a);
    const auto t = Lanes::select_negative(Lanes::sub(a, Lanes::set(0.25f)), near, far);
    return Lanes::select_negative(v, Lanes::sub(Lanes::set(0.0f), t), t);
  });
}

void rope_half(const float* x, const float* cosine, const float* sine, int64_t half,
               float* y) noexcept {
  const auto turn = [&](int64_t i, int64_t n, const auto& store) {
    const auto a = at(x, i, n), b = at(x + half, i, n), c = at(cosine, i, n), s = at(sine, i, n);
    store(y + i, Lanes::sub(Lanes::mul(a, c), Lanes::mul(b, s)));
    store(y + half + i, Lanes::add(Lanes::mul(b, c), Lanes::mul(a, s)));
  };
  int64_t i = 0;  // whole stores where they are: what was stored by a mask is slow to load again
  for (; i + 16 <= half; i += 16)
    turn(i, 16, [](float* p, const Lanes::V& v) { Lanes::store(p, v); });
  if (i < half)
    turn(i, half - i, [&](float* p, const Lanes::V& v) { Lanes::store(p, v, half - i); });
}

void add(const float* a, const float* b, int64_t n, float* y) noexcept {
  each(n, y, [&](int64_t i, int64_t left) { return Lanes::add(at(a, i, left), at(b, i, left)); });
}

void multiply(const float* a, const float* b, int64_t n, float* y) noexcept {
  each(n, y, [&](int64_t i, int64_t left) { return Lanes::mul(at(a, i, left), at(b, i, left)); });
}

void axpy(float a, const float* x, int64_t n, float* y) noexcept {
  const auto v = Lanes::set(a);
  each(n, y,
       [&](int64_t i, int64_t left) { return Lanes::fma(v, at(x, i, left), at(y, i, left)); });
}

void mix(float a, const float* x, float b, int64_t n, float* y) noexcept {
  const auto v = Lanes::set(a), w = Lanes::set(b);
  each(n, y, [&](int64_t i, int64_t left) {
    return Lanes::fma(v, at(x, i, left), Lanes::mul(w, at(y, i, left)));
  });
}

void to_f16(const float* x, int64_t n, uint16_t* y) noexcept {
  for (int64_t i = 0; i < n; i += 16) Lanes::store_f16(y + i, at(x, i, n - i), n - i);
}

void to_bf16(const float* x, float a, int64_t n, uint16_t* y) noexcept {
  const auto factor = Lanes::set(a), least = Lanes::set(0x1p-56f);
  const auto rounded = [&](int64_t i, int64_t left) {
    const auto v = Lanes::mul(at(x, i, left), factor);
    return Lanes::zero_unless_ge(Lanes::abs(v), least, Lanes::round_bf16(v));
  };
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) Lanes::store_high(y + i, rounded(i, 16), rounded(i + 16, 16));
  for (; i < n; i += 16) Lanes::store_high(y + i, rounded(i, n - i), n - i);
}

// 2^t for t <= 0 as a bf16. 2^f over 0 <= f <= 1 is a polynomial that is 1 and 2 at the ends, error
// 1.03e-4. Its last addition happens at 2^16, where a float counts in steps of 2^-7: the rounding
// to bf16 costs nothing.
inline Lanes::V exp2_lanes(Lanes::V t) {
  const auto f = Lanes::fraction(t), large = Lanes::set(65536.0f);
  auto p = Lanes::set(7.8267969e-2f);
  p = Lanes::fma(p, f, Lanes::set(2.26307675e-1f));
  p = Lanes::fma(p, f, Lanes::set(6.9542432e-1f));
  p = Lanes::sub(Lanes::fma(p, f, Lanes::set(65537.0f)), large);
  return Lanes::power(p, t, Lanes::set(-56.0f));
}

uint64_t rows_above(const float* x, int64_t ldx, int64_t rows, int64_t n,
                    const float* limit) noexcept {
  uint64_t above = 0;
  for (int64_t r = 0; r < rows; ++r, x += ldx) {
    auto most = Lanes::load(x);
    for (int64_t i = 16; i < n; i += 16) most = Lanes::max(most, Lanes::load(x + i));
    above |= static_cast<uint64_t>(Lanes::any_above(most, limit[r])) << r;
  }
  return above;
}

void lane_max(const float* x, int64_t ldx, int64_t rows, int64_t n, float* lanes) noexcept {
  for (int64_t r = 0; r < rows; ++r, x += ldx, lanes += 16) {
    auto most = Lanes::load(lanes);
    for (int64_t i = 0; i < n; i += 16) most = Lanes::max(most, Lanes::load(x + i));
    Lanes::store(lanes, most);
  }
}

void exp2_bf16(const float* x, int64_t ldx, int64_t rows, int64_t n, const float* max, uint16_t* y,
               int64_t ldy, float* lanes) noexcept {
  for (int64_t r = 0; r < rows; ++r, x += ldx, y += ldy, lanes += 16) {
    const auto m = Lanes::set(max[r]);
    auto sum = Lanes::load(lanes);
    for (int64_t i = 0; i < n; i += 32) {
      const auto a = exp2_lanes(Lanes::sub(Lanes::load(x + i), m)),
                 b = exp2_lanes(Lanes::sub(Lanes::load(x + i + 16), m));
      sum = Lanes::add(Lanes::add(sum, a), b);
      Lanes::store_high(y + i, a, b);
    }
    Lanes::store(lanes, sum);
  }
}

void lanes_largest(const float* lanes, int64_t rows, float* y) noexcept {
  for (int64_t r = 0; r < rows; ++r) y[r] = Lanes::largest(Lanes::load(lanes + 16 * r));
}

void lanes_sum(const float* lanes, int64_t rows, float* y) noexcept {
  for (int64_t r = 0; r < rows; ++r) y[r] = Lanes::sum(Lanes::load(lanes + 16 * r));
}

constexpr VectorOps kOps = {.rms_norm = rms_norm,
                            .layer_norm = layer_norm,
                            .exp_sum = exp_sum,
                            .max = max_of,
                            .silu = silu,
                            .gelu_erf = gelu_erf,
                            .gelu_tanh = gelu_tanh,
                            .tanh = tanh_of,
                            .rope_half = rope_half,
                            .add = add,
                            .multiply = multiply,
                            .scale = scale_by,
                            .axpy = axpy,
                            .mix = mix,
                            .to_f16 = to_f16,
                            .to_bf16 = to_bf16,
                            .rows_above = rows_above,
                            .lane_max = lane_max,
                            .exp2_bf16 = exp2_bf16,
                            .lanes_largest = lanes_largest,
                            .lanes_sum = lanes_sum};
