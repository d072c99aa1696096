// A reference to something callable, for parameters that are called before the callee returns: two
// words, never an allocation (std::function allocates for a lambda with more than two captures).
// What it refers to must outlive the call; a temporary lambda in the argument does.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace halftone {

template <class Signature>
class FunctionRef;

template <class Result, class... Args>
class FunctionRef<Result(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> &&
           std::is_invocable_r_v<Result, const F&, Args...>)
      FunctionRef(const F& f)  // NOLINT: converts as std::function does
      : object_(std::addressof(f)), call_([](const void* object, Args... args) -> Result {
          return (*static_cast<const F*>(object))(std::forward<Args>(args)...);
        }) {}
  Result operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  const void* object_;
  Result (*call_)(const void*, Args...);
};

}  // namespace halftone
