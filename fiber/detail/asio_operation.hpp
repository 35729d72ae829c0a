// One operation of Boost.Asio that a fiber waits for: the token, the handler that Asio gets, and what stands in the
// frame of whoever waits. The documentation is in fiber/asio.hpp.
//
// The handler is the one link between Asio and the frame: whoever calls it, or destroys it without having called it, is
// the last to touch the frame. Memory that Asio asks the handler for stands in the frame, too; by Asio's rules it is
// given back before the handler is called.
#pragma once

// clang-format off
#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

// Below the others: Boost 1.74's headers use <utility> without including it.
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/version.hpp>
#include <boost/system/system_error.hpp>
// clang-format on

#if BOOST_ASIO_VERSION >= 101900
#define FIBER_ASIO_HAS_CANCELLATION
#include <boost/asio/cancellation_signal.hpp>
#endif

#include "fiber/detail/asio_support.hpp"
#include "fiber/this_fiber.hpp"

namespace fiber {

namespace detail {

struct no_canceller {};

// The memory of one block at a time; larger or further ones come from the heap.
struct frame_memory {
    static constexpr std::size_t room = 512;

    alignas(std::max_align_t) std::byte bytes[room];
    std::atomic<bool> taken{false};
};

template <class T>
struct frame_allocator {
    using value_type = T;

    explicit frame_allocator(frame_memory& from) noexcept : memory(&from) {}
    template <class U>
    frame_allocator(const frame_allocator<U>& other) noexcept : memory(other.memory) {}

    T* allocate(std::size_t count) {
        if (count * sizeof(T) <= frame_memory::room && alignof(T) <= alignof(std::max_align_t) &&
            !memory->taken.exchange(true, std::memory_order_acquire)) {
            return reinterpret_cast<T*>(memory->bytes);
        }
        return std::allocator<T>().allocate(count);
    }
    void deallocate(T* block, std::size_t count) noexcept {
        if (reinterpret_cast<std::byte*>(block) != memory->bytes) return std::allocator<T>().deallocate(block, count);
        memory->taken.store(false, std::memory_order_release);
    }

    template <class U>
    bool operator==(const frame_allocator<U>& other) const noexcept {
        return memory == other.memory;
    }

    frame_memory* memory;
};

template <class T>
inline constexpr bool is_completion_error = std::is_same_v<T, boost::system::error_code> ||
                                            std::is_same_v<T, std::error_code> || std::is_same_v<T, std::exception_ptr>;

// What a fiber gets of an operation of the signature void(Args...), without the error that leads: nothing, the one
// value, or a tuple. Written out, not deduced: to choose among its overloads Asio asks of each what the token would
// return, also of one with a type that does not compile (a socket whose executor is a socket).
template <class... Values>
struct values_together {
    using type = std::tuple<Values...>;
};
template <>
struct values_together<> {
    using type = void;
};
template <class Value>
struct values_together<Value> {
    using type = Value;
};
template <class... Args>
struct values_of_signature : values_together<Args...> {};
template <class First, class... Rest>
requires is_completion_error<First>
struct values_of_signature<First, Rest...> : values_together<Rest...> {
};

template <class... Args>
using asio_value = typename values_of_signature<std::decay_t<Args>...>::type;

[[noreturn]] inline void throw_completion_error(const boost::system::error_code& error) {
    throw boost::system::system_error(error);
}
[[noreturn]] inline void throw_completion_error(const std::error_code& error) { throw std::system_error(error); }
[[noreturn]] inline void throw_completion_error(const std::exception_ptr& error) { std::rethrow_exception(error); }

// What is handed over when an operation of the signature void(Args...) completes, and the wait for it.
template <class... Args>
class asio_operation {
 public:
    asio_operation() = default;
    asio_operation(const asio_operation&) = delete;
    asio_operation& operator=(const asio_operation&) = delete;

    frame_memory& memory() noexcept { return memory_; }
    completion& done() noexcept { return done_; }

    // The handler, once; the operation may be gone when it returns.
    template <class... T>
    void complete(T&&... values) noexcept {
        try {
            values_.emplace(std::forward<T>(values)...);
        } catch (...) {
            thrown_ = std::current_exception();
        }
        done_.come();
    }
    void abandon() noexcept { done_.come(); }

    // `error`: where a boost error_code goes instead of being thrown. `cancelled`: a cancellation came while it was
    // waited for. Requires: it has come.
    asio_value<Args...> take(boost::system::error_code* error, bool cancelled) {
        if (!values_) throw_without_values(cancelled);
        return std::apply(
            [&]<class... T>(T&... values) -> asio_value<Args...> {
                if constexpr (sizeof...(T) == 0) {
                    if (error != nullptr) error->clear();
                } else {
                    return take_values(error, cancelled, values...);
                }
            },
            *values_);
    }

 private:
    [[noreturn]] void throw_without_values(bool cancelled) const {
        if (cancelled) this_fiber::check_cancelled();
        if (thrown_ != nullptr) std::rethrow_exception(thrown_);
        throw boost::system::system_error(
            boost::asio::error::operation_aborted,
            "fiber::use_fiber: the operation was dropped without an end (was its io_context destroyed?)");
    }

    template <class First, class... Rest>
    static auto take_values(boost::system::error_code* error, bool cancelled, First& first, Rest&... rest) {
        if constexpr (!is_completion_error<First>) {
            if (error != nullptr) error->clear();
            return values_of(first, rest...);
        } else {
            // An operation that fails because of a cancellation, or beside one: the cancellation is what is said.
            if (first && cancelled) this_fiber::check_cancelled();
            if constexpr (std::is_same_v<First, boost::system::error_code>) {
                if (error != nullptr) {
                    *error = first;
                    return values_of(rest...);
                }
            }
            if (first) throw_completion_error(first);
            if (error != nullptr) error->clear();
            return values_of(rest...);
        }
    }

    static void values_of() noexcept {}
    template <class T>
    static T values_of(T& value) {
        return std::move(value);
    }
    template <class T, class U, class... Rest>
    static std::tuple<T, U, Rest...> values_of(T& first, U& second, Rest&... rest) {
        return {std::move(first), std::move(second), std::move(rest)...};
    }

    completion done_;
    std::optional<std::tuple<std::decay_t<Args>...>> values_;
    std::exception_ptr thrown_;
    frame_memory memory_;
};

// Move-only.
template <class... Args>
class asio_handler {
 public:
    using allocator_type = frame_allocator<void>;
    allocator_type get_allocator() const noexcept { return allocator_type(*memory_); }

#if defined(FIBER_ASIO_HAS_CANCELLATION)
    using cancellation_slot_type = boost::asio::cancellation_slot;
    cancellation_slot_type get_cancellation_slot() const noexcept { return slot_; }

    asio_handler(asio_operation<Args...>& operation, cancellation_slot_type slot) noexcept
        : operation_(&operation), memory_(&operation.memory()), slot_(slot) {}
    asio_handler(asio_handler&& other) noexcept
        : operation_(std::exchange(other.operation_, nullptr)), memory_(other.memory_), slot_(other.slot_) {}
#else
    explicit asio_handler(asio_operation<Args...>& operation) noexcept
        : operation_(&operation), memory_(&operation.memory()) {}
    asio_handler(asio_handler&& other) noexcept
        : operation_(std::exchange(other.operation_, nullptr)), memory_(other.memory_) {}
#endif
    asio_handler& operator=(const asio_handler&) = delete;
    ~asio_handler() {
        if (operation_ != nullptr) operation_->abandon();
    }

    template <class... T>
    requires std::is_constructible_v<std::tuple<std::decay_t<Args>...>, T &&...> void operator()(T&&... values) {
        std::exchange(operation_, nullptr)->complete(std::forward<T>(values)...);
    }

 private:
    asio_operation<Args...>* operation_;
    frame_memory* memory_;
#if defined(FIBER_ASIO_HAS_CANCELLATION)
    cancellation_slot_type slot_;
#endif
};

// Runs f() where the executor runs handlers; returns when it has run, or never will. Throws what f throws.
template <class Executor, class F>
void run_on(const Executor& executor, F& f) {
    struct state {
        F& f;
        completion ran;
        std::exception_ptr thrown;
    };
    struct call {
        explicit call(state& owner) noexcept : of(&owner) {}
        call(call&& other) noexcept : of(std::exchange(other.of, nullptr)) {}
        ~call() {
            if (of != nullptr) of->ran.come();
        }
        void operator()() noexcept {
            try {
                of->f();
            } catch (...) {
                of->thrown = std::current_exception();
            }
        }
        state* of;
    };
    state of{f, {}, nullptr};
    boost::asio::post(executor, call(of));
    of.ran.wait_out();
    if (of.thrown != nullptr) std::rethrow_exception(of.thrown);
}

// While it stands, the frame stays until the operation has come to its end.
class operation_guard {
 public:
    explicit operation_guard(completion& done) noexcept : done_(done) {}
    ~operation_guard() { done_.wait_out(); }
    operation_guard(const operation_guard&) = delete;
    operation_guard& operator=(const operation_guard&) = delete;

 private:
    completion& done_;
};

// Where the operation's handlers run, if the initiation says so; otherwise nullptr.
template <class Initiation>
auto executor_of(const Initiation& initiation) {
    if constexpr (requires {
                      typename Initiation::executor_type;
                      initiation.get_executor();
                  }) {
        return initiation.get_executor();
    } else {
        return nullptr;
    }
}

// Asks the operation to end: by the token's canceller, by the cancellation slot, or, where there is neither, not at
// all.
template <class Canceller>
class operation_canceller {
 public:
    explicit operation_canceller(Canceller& canceller) noexcept : canceller_(canceller) {}

    static constexpr bool has_own = !std::is_same_v<Canceller, no_canceller>;
#if defined(FIBER_ASIO_HAS_CANCELLATION)
    static constexpr bool can_cancel = true;

    template <class... Args>
    asio_handler<Args...> handler_of(asio_operation<Args...>& operation) noexcept {
        return {operation, signal_.slot()};
    }
#else
    static constexpr bool can_cancel = has_own;

    template <class... Args>
    asio_handler<Args...> handler_of(asio_operation<Args...>& operation) noexcept {
        return asio_handler<Args...>(operation);
    }
#endif

    template <class Executor>
    void cancel_on(const Executor& executor) {
        auto ask = [this] {
            if constexpr (has_own) {
                canceller_();
            } else {
#if defined(FIBER_ASIO_HAS_CANCELLATION)
                signal_.emit(boost::asio::cancellation_type::all);
#endif
            }
        };
        if constexpr (std::is_same_v<Executor, std::nullptr_t>) {
            ask();
        } else {
            run_on(executor, ask);
        }
    }

 private:
    Canceller& canceller_;
#if defined(FIBER_ASIO_HAS_CANCELLATION)
    boost::asio::cancellation_signal signal_;
#endif
};

// The async_result of a token.
template <class Canceller, class... Args>
class asio_result {
 public:
    using completion_handler_type = asio_handler<Args...>;
    using return_type = asio_value<Args...>;

    template <class Initiation, class Token, class... A>
    static return_type initiate(Initiation&& initiation, Token token, A&&... arguments) {
        check_may_wait_for_asio();
        asio_operation<Args...> operation;
        operation_canceller<Canceller> canceller(token.canceller_);
        const operation_guard until_the_end(operation.done());
        [[maybe_unused]] const auto executor = executor_if<canceller.can_cancel>(initiation);
        start(std::forward<Initiation>(initiation), canceller.handler_of(operation),
              std::forward<A>(arguments)...);  // the handler goes with this line, or is somebody else's
        const bool cancelled = !operation.done().wait();
        if (cancelled) {
            if constexpr (canceller.can_cancel) canceller.cancel_on(executor);
            operation.done().wait_out();
        }
        return operation.take(token.error_, cancelled);
    }

 private:
    template <bool wanted, class Initiation>
    static auto executor_if(const Initiation& initiation) {
        if constexpr (wanted) {
            return executor_of(initiation);
        } else {
            return nullptr;
        }
    }

    // Asio reads thread-locals in there. Not inlined, so that nobody keeps their addresses across the wait, after which
    // the fiber may be on another thread.
    template <class Initiation, class... A>
    [[gnu::noinline]] static void start(Initiation&& initiation, completion_handler_type&& handler, A&&... arguments) {
        std::forward<Initiation>(initiation)(std::move(handler), std::forward<A>(arguments)...);
    }
};

// Starts an operation whose handlers run on an executor of the caller's choice.
template <class Executor, class Initiation>
struct bound_initiation {
    using executor_type = Executor;
    executor_type get_executor() const noexcept { return executor; }

    template <class Handler, class... A>
    void operator()(Handler&& handler, A&&... arguments) {
        std::move(initiation)(boost::asio::bind_executor(executor, std::forward<Handler>(handler)),
                              std::forward<A>(arguments)...);
    }

    Executor executor;
    Initiation initiation;
};

// use_fiber, and what Asio's adaptors make of it.
template <class Token>
inline constexpr bool is_fiber_token = false;
template <class Token>
inline constexpr bool is_fiber_token<boost::asio::redirect_error_t<Token>> = is_fiber_token<Token>;
template <class Token, class Executor>
inline constexpr bool is_fiber_token<boost::asio::executor_binder<Token, Executor>> = is_fiber_token<Token>;

}  // namespace detail
}  // namespace fiber
