// A callable with its bound arguments, called once, as std::thread does it. In place of <functional> and std::apply,
// which would cost every user of <fiber/task.hpp> the whole of <functional>.
#pragma once

#include <cstddef>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace fiber::detail {

// The object whose member is meant: `object`, what it points to, or what a std::reference_wrapper stands for.
template <class C, class O>
decltype(auto) owner_of_member(O&& object) {
    if constexpr (std::is_base_of_v<C, std::remove_cvref_t<O>>) {
        return std::forward<O>(object);
    } else if constexpr (requires { *std::forward<O>(object); }) {
        return *std::forward<O>(object);
    } else {
        return object.get();
    }
}

template <class T, class C, class O, class... A>
decltype(auto) invoke_member(T C::*member, O&& object, A&&... args) {
    if constexpr (std::is_function_v<T>) {
        return (detail::owner_of_member<C>(std::forward<O>(object)).*member)(std::forward<A>(args)...);
    } else {
        return (detail::owner_of_member<C>(std::forward<O>(object)).*member);
    }
}

template <class F, class... A>
decltype(auto) invoke(F&& f, A&&... args) {
    if constexpr (std::is_member_pointer_v<std::decay_t<F>>) {
        return detail::invoke_member(std::forward<F>(f), std::forward<A>(args)...);
    } else {
        return std::forward<F>(f)(std::forward<A>(args)...);
    }
}

template <class F, class... A>
class bound_call {
 public:
    template <class G, class... B>
    explicit bound_call(G&& f, B&&... args) : f_(std::forward<G>(f)), args_(std::forward<B>(args)...) {}

    decltype(auto) operator()() {
        return [this]<std::size_t... I>(std::index_sequence<I...>)->decltype(auto) {
            return detail::invoke(std::move(f_), std::move(std::get<I>(args_))...);
        }
        (std::index_sequence_for<A...>{});
    }

 private:
    F f_;
    std::tuple<A...> args_;
};

// No arguments: just the callable.
template <class F>
class bound_call<F> {
 public:
    template <class G>
    explicit bound_call(G&& f) : f_(std::forward<G>(f)) {}

    decltype(auto) operator()() { return std::move(f_)(); }

 private:
    F f_;
};

// A callable too large for a slot lives on the heap.
template <class Call>
class boxed_call {
 public:
    template <class... B>
    explicit boxed_call(B&&... args) : call_(std::make_unique<Call>(std::forward<B>(args)...)) {}

    decltype(auto) operator()() { return (*call_)(); }

 private:
    std::unique_ptr<Call> call_;
};

}  // namespace fiber::detail
