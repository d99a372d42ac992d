/* A processor with features taken away: CPUID faults (Linux, Intel from Ivy Bridge on), and the handler answers.
 *
 * The instructions themselves still run, so this shows what libraries choose by CPUID, at full speed. Threads inherit
 * it; a program that is started anew does not. Knows bits; which of them make a kind of processor is told by Python.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_SET_CPUID = 0x1012, MOST = 32 };

typedef struct {
    uint32_t leaf, subleaf;
    uint32_t hidden[4]; /* bits of eax, ebx, ecx, edx */
} Hidden;

static Hidden table[MOST];
static size_t rows;

static long faulting(int on) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, (unsigned long)!on); }

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)registers[REG_RIP];
    if (info->si_code != SI_KERNEL || at[0] != 0x0f || at[1] != 0xa2) { /* not CPUID: a fault as any other */
        signal(number, SIG_DFL);
        return;
    }
    uint32_t leaf = (uint32_t)registers[REG_RAX], subleaf = (uint32_t)registers[REG_RCX], found[4];
    faulting(0);
    __cpuid_count(leaf, subleaf, found[0], found[1], found[2], found[3]);
    faulting(1);
    for (size_t i = 0; i < rows; i++)
        for (int k = 0; k < 4; k++)
            if (table[i].leaf == leaf && table[i].subleaf == subleaf) found[k] &= ~table[i].hidden[k];
    registers[REG_RAX] = found[0], registers[REG_RBX] = found[1];
    registers[REG_RCX] = found[2], registers[REG_RDX] = found[3];
    registers[REG_RIP] += 2;
}

/* Hide bits from this thread and all that it starts. Returns 0, or the error's number: ENODEV where CPUID cannot fault. */
int hide(const Hidden *hidden, size_t count) {
    if (count > MOST) return EINVAL;
    for (rows = 0; rows < count; rows++) table[rows] = hidden[rows];
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO};
    if (sigaction(SIGSEGV, &action, NULL) || faulting(1)) return errno;
    return 0;
}
