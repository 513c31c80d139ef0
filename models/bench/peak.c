/* The most int8 multiply-adds this processor does: registers only, nothing to wait for.
 *
 * Each function runs `rounds` rounds on sixteen or twelve independent sums and returns how many
 * multiply-adds that were. The sums are unrolled into registers, and opaque, so that the compiler
 * cannot merge them. */

#include <immintrin.h>

__attribute__((target("avx512f,avx512vnni"))) double peak_vnni(long rounds) {
    __m512i sums[16], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5), all;
#pragma GCC unroll 16
    for (int at = 0; at < 16; at++) {
        sums[at] = _mm512_setzero_si512();
        __asm__ volatile("" : "+v"(sums[at]));
    }
    for (long round = 0; round < rounds; round++) {
#pragma GCC unroll 16
        for (int at = 0; at < 16; at++) sums[at] = _mm512_dpbusd_epi32(sums[at], x, y);
        __asm__ volatile("" : "+v"(x));
    }
    all = sums[0];
#pragma GCC unroll 16
    for (int at = 1; at < 16; at++) all = _mm512_add_epi32(all, sums[at]);
    __asm__ volatile("" : : "v"(all));
    return 16.0 * 64.0 * (double)rounds;
}

/* Three instructions, as exact int8 products with AVX2 need them. */
__attribute__((target("avx2"))) double peak_avx2(long rounds) {
    __m256i sums[12], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5), all;
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 12
    for (int at = 0; at < 12; at++) {
        sums[at] = _mm256_setzero_si256();
        __asm__ volatile("" : "+x"(sums[at]));
    }
    for (long round = 0; round < rounds; round++) {
#pragma GCC unroll 12
        for (int at = 0; at < 12; at++) {
            __m256i pairs = _mm256_maddubs_epi16(x, y);
            __asm__ volatile("" : "+x"(pairs));
            sums[at] = _mm256_add_epi32(sums[at], _mm256_madd_epi16(pairs, ones));
        }
    }
    all = sums[0];
#pragma GCC unroll 12
    for (int at = 1; at < 12; at++) all = _mm256_add_epi32(all, sums[at]);
    __asm__ volatile("" : : "x"(all));
    return 12.0 * 32.0 * (double)rounds;
}
