/* Hides AVX-512, AVX-VNNI and AMX from a program, so that its AVX2 code can be measured.
 *
 * Loaded with LD_PRELOAD. The processor is asked to fault on CPUID (Linux x86-64, Intel since
 * Ivy Bridge, flag cpuid_fault); the handler executes the instruction and clears the bits. */

#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_CPUID_SET 0x1012

/* Leaf 7, subleaf 0: AVX-512 in EBX, ECX and EDX, AMX in EDX. */
#define LEAF7_EBX (1u << 16 | 1u << 17 | 1u << 21 | 1u << 28 | 1u << 30 | 1u << 31)
#define LEAF7_ECX (1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14)
#define LEAF7_EDX (1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25)
/* Leaf 7, subleaf 1: AVX-VNNI, AVX-512 BF16, AMX FP16 and AVX-IFMA in EAX; AVX-VNNI-INT8,
 * AVX-NE-CONVERT, AVX-VNNI-INT16 and AVX10 in EDX. */
#define LEAF7_1_EAX (1u << 4 | 1u << 5 | 1u << 21 | 1u << 23)
#define LEAF7_1_EDX (1u << 4 | 1u << 5 | 1u << 10 | 1u << 19)

/* Not the library's wrapper: it may itself be busy when the fault comes. */
static long set_cpuid(long enabled) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)SYS_arch_prctl), "D"((long)ARCH_CPUID_SET), "S"(enabled)
                     : "rcx", "r11", "memory");
    return result;
}

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)registers[REG_RIP];
    if (code[0] != 0x0f || code[1] != 0xa2) {
        signal(number, SIG_DFL); /* A real fault: it comes again, and kills. */
        return;
    }
    uint32_t leaf = (uint32_t)registers[REG_RAX], subleaf = (uint32_t)registers[REG_RCX];
    uint32_t a = leaf, b, c = subleaf, d;
    set_cpuid(1);
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    set_cpuid(0);
    if (leaf == 7 && subleaf == 0) {
        b &= ~LEAF7_EBX;
        c &= ~LEAF7_ECX;
        d &= ~LEAF7_EDX;
    }
    if (leaf == 7 && subleaf == 1) {
        a &= ~LEAF7_1_EAX;
        d &= ~LEAF7_1_EDX;
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void start(void) {
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    if (set_cpuid(0) != 0) {
        fputs("error: this processor or kernel cannot fault on CPUID\n", stderr);
        exit(1);
    }
}
