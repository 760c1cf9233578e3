// Numbers in half a float's bits, the upper half, and pairs of them, which
// processors that have AVX512_BF16 multiply and add at once.

#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

template <typename To, typename From>
inline To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

// The upper halves of floats' bits, rounded to the nearest, ties to even.
template <typename Bits>
inline Bits rounded(Bits bits) {
  Bits nearest = bits + 0x7fff + ((bits >> 16) & 1);
  Bits quiet = bits | 0x400000;  // else rounding could make a NaN an infinity
  return ((bits & 0x7fffffff) > 0x7f800000 ? quiet : nearest) >> 16;
}

struct Bfloat16 {
  uint16_t bits;
  Bfloat16() = default;
  Bfloat16(float from) : bits(rounded(same_bits<uint32_t>(from))) {}
  operator float() const { return same_bits<float>(uint32_t(bits) << 16); }
};

typedef uint32_t Words __attribute__((vector_size(kBytes)));
typedef uint16_t Halves __attribute__((vector_size(kBytes / 2)));

inline Words load(const uint32_t* from) {
  Words words;
  __builtin_memcpy(&words, from, sizeof words);
  return words;
}

inline Vec load(const Bfloat16* from) {
  Halves halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  return (Vec)(__builtin_convertvector(halves, Words) << 16);
}

inline void store(Bfloat16* to, Vec v) {
#if defined(__AVX512BF16__)
  auto halves = _mm512_cvtneps_pbh((__m512)v);
#else
  auto halves = __builtin_convertvector(rounded((Words)v), Halves);
#endif
  __builtin_memcpy(to, &halves, sizeof halves);
}

// Two numbers, the first in the lower bits.
inline uint32_t pair(Bfloat16 first, Bfloat16 second) {
  return first.bits | uint32_t(second.bits) << 16;
}
inline uint32_t pair(const uint32_t* at) { return *at; }
inline uint32_t pair(const Bfloat16* at) {
  uint32_t both;
  __builtin_memcpy(&both, at, sizeof both);
  return both;
}

// sum + the products of both numbers of `a` with those of each of b's lanes.
inline Vec multiply_add(Vec sum, uint32_t a, Words b) {
#if defined(__AVX512BF16__)
  return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)b,
                               (__m512bh)_mm512_set1_epi32(a));
#else
  auto upper = [](auto bits) { return bits & 0xffff0000u; };
  Real first = same_bits<float>(a << 16), second = same_bits<float>(upper(a));
  sum += first * (Vec)(b << 16);
  return sum + second * (Vec)upper(b);
#endif
}

// The same of numbers that are not paired.
inline Real pair(const Real* at) { return *at; }
inline Real pair(Real first, Real) { return first; }
inline Vec multiply_add(Vec sum, Real a, Vec b) { return sum + a * b; }
