// The handler, its installation, and the stack it runs on.
#include "scheduler/context/overflow.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <sys/mman.h>
#include <unistd.h>

#include "scheduler/context/stack_memory.hpp"

namespace fiber::engine {

namespace {

constexpr int watched[] = {SIGSEGV, SIGBUS};

std::atomic<overflow_describer> describe{nullptr};

// Written once, before the handler is installed; read only by the handler.
struct sigaction previous[std::size(watched)];

const struct sigaction& previous_of(int signal) noexcept { return previous[signal == watched[0] ? 0 : 1]; }

void write_all(const char* text, std::size_t size) noexcept {
    while (size > 0) {
        const ssize_t written = ::write(STDERR_FILENO, text, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text += written;
        size -= static_cast<std::size_t>(written);
    }
}

// Once the handler has returned, the signal kills: a fault by happening again at the same instruction, which is what a
// debugger wants to see, anything else by being sent again.
void die_by_default(int signal, bool is_fault) noexcept {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    ::sigaction(signal, &action, nullptr);
    if (!is_fault) ::raise(signal);
}

void pass_on(int signal, siginfo_t* info, void* machine_context, bool is_fault) noexcept {
    const struct sigaction& theirs = previous_of(signal);
    if ((theirs.sa_flags & SA_SIGINFO) != 0) {
        theirs.sa_sigaction(signal, info, machine_context);
    } else if (theirs.sa_handler == SIG_DFL || (theirs.sa_handler == SIG_IGN && is_fault)) {
        die_by_default(signal, is_fault);  // the kernel does not let a fault be ignored, either
    } else if (theirs.sa_handler != SIG_IGN) {
        theirs.sa_handler(signal);
    }
}

void on_fault(int signal, siginfo_t* info, void* machine_context) noexcept {
    const int saved_errno = errno;
    // Only the kernel's own signals carry the address of a fault.
    const bool is_fault = info->si_code > 0;
    char text[1024];
    // acquire pairs with the release in install_overflow_handler(): `previous` is complete.
    const overflow_describer describer = describe.load(std::memory_order_acquire);
    const int length = is_fault ? describer(info->si_addr, text, sizeof text) : 0;
    if (length > 0) {
        write_all(text, static_cast<std::size_t>(length));
        die_by_default(signal, is_fault);
    } else {
        pass_on(signal, info, machine_context, is_fault);
    }
    errno = saved_errno;
}

// Room for the registers (some 11 KiB with AMX), for ours, and for handlers of others that we pass faults on to.
std::size_t signal_stack_size() noexcept {
    std::size_t size = std::size_t{64} << 10;
#if defined(_SC_SIGSTKSZ)
    const long recommended = ::sysconf(_SC_SIGSTKSZ);
    if (recommended > 0) size = std::max(size, static_cast<std::size_t>(recommended));
#endif
    return (size + page_size() - 1) / page_size() * page_size();
}

}  // namespace

void install_overflow_handler(overflow_describer describer) noexcept {
    if constexpr (!overflow_handler_supported) return;
    static const bool installed = [describer] {
        for (std::size_t i = 0; i < std::size(watched); ++i) ::sigaction(watched[i], nullptr, &previous[i]);
        // release pairs with the acquire in on_fault().
        describe.store(describer, std::memory_order_release);
        for (const int signal : watched) {
            struct sigaction action {};
            action.sa_sigaction = &on_fault;
            action.sa_flags = SA_SIGINFO | SA_ONSTACK;
            ::sigemptyset(&action.sa_mask);
            ::sigaction(signal, &action, nullptr);
        }
        return true;
    }();
    (void)installed;
}

alternate_signal_stack::alternate_signal_stack() noexcept {
    stack_t theirs{};
    if (!overflow_handler_supported || ::sigaltstack(nullptr, &theirs) != 0 || (theirs.ss_flags & SS_DISABLE) == 0)
        return;
    const std::size_t usable = signal_stack_size();
    acquire_verdict verdict = acquire_verdict::acquired;
    std::byte* mapping = map_stack_memory(usable + page_size(), verdict);
    if (mapping == nullptr) return;
    stack_t ours{};
    ours.ss_sp = mapping + page_size();
    ours.ss_size = usable;
    if (!protect_page(mapping) || ::sigaltstack(&ours, nullptr) != 0) {
        unmap_stack_memory(mapping, usable + page_size());
        return;
    }
    mapping_ = mapping;
    size_ = usable + page_size();
}

alternate_signal_stack::~alternate_signal_stack() {
    if (mapping_ == nullptr) return;
    stack_t now{};
    if (::sigaltstack(nullptr, &now) == 0 && now.ss_sp == mapping_ + page_size()) {
        stack_t none{};
        none.ss_flags = SS_DISABLE;
        ::sigaltstack(&none, nullptr);
    }
    unmap_stack_memory(mapping_, size_);
}

}  // namespace fiber::engine
