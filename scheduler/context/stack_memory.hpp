// What stacks ask of the kernel: address space, guards, memory given back, and the name of a limit that was hit.
// Any thread may call everything here; there is no state but constants found out once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <sys/uio.h>

namespace fiber::engine {

// Why there is no stack; `acquired` when there is one.
enum class acquire_verdict : std::uint8_t { acquired, address_space, map_count, overcommit, memory };

// A sentence's end, static storage: "the limit on address space (RLIMIT_AS) was hit" and the like.
const char* explain(acquire_verdict verdict) noexcept;

// Which limit refused `bytes` more; the kernel says no more than ENOMEM, so this looks for the nearest one.
acquire_verdict limit_hit_by(std::size_t bytes) noexcept;

std::size_t page_size() noexcept;

// Address space for stacks: readable, writable, zero, committed only where touched, never by huge pages. nullptr when
// the kernel refuses, with `verdict` saying why.
std::byte* map_stack_memory(std::size_t bytes, acquire_verdict& verdict) noexcept;
void unmap_stack_memory(std::byte* first, std::size_t bytes) noexcept;

// Do accesses fault after madvise(MADV_GUARD_INSTALL), which costs no mapping? From Linux 6.13 on.
bool lightweight_guards_supported() noexcept;

// Guards each range (whole pages) without splitting its mapping. Returns how many of them, from the first on, are
// guarded.
std::size_t install_lightweight_guards(const iovec* ranges, std::size_t count) noexcept;

// Makes a page inaccessible by protection; splits the mapping in three. False when the kernel refuses.
bool protect_page(std::byte* page) noexcept;

// Whether `more` further mappings leave this process its reserve below vm.max_map_count (a quarter of it). Reads
// /proc/self/maps, so it takes as long as there are mappings.
bool mappings_to_spare(std::size_t more) noexcept;

// Gives the memory of each range (whole pages) back: it reads as zero afterwards. Guards stay.
void give_back(const iovec* ranges, std::size_t count) noexcept;

}  // namespace fiber::engine
