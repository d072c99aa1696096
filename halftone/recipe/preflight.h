// What can go wrong is looked for before any compute, and all of it is said at once.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/error.h"
#include "halftone/recipe/driver.h"

namespace halftone::recipe {

// Collects failures; one is thrown as it is, several as one line under the code of the first.
class Findings {
 public:
  void look(const std::function<void()>&
                check);  // keeps the Error that `check` throws; interruption passes through
  void add(Error error) { errors_.push_back(std::move(error)); }
  void throw_if_any() const;

 private:
  std::vector<Error> errors_;
};

// Folder that exists and lies closest above `path`.
std::string nearest_folder(Env& env, const std::string& path);

// The output may not be the input, nor hold it: it would be replaced.
void check_output_is_not_input(Env& env, const std::string& output, const std::string& input);

// An output that exists is refused unless --resume, or --force and it is a result of ours (or empty).
// So is what no folder can be renamed onto: a file, a link, a mount point, "." itself.
void check_output_is_free(Env& env, const QuantizeRequest& request);

// Creates and removes a file where the output will be.
void probe_writable(Env& env, const std::string& output);

// needed bytes x 1.02, less what lies in the work folder already.
void check_free_space(Env& env, const std::string& output, const std::string& work,
                      uint64_t needed);

// Reads every tensor of the spec once, in pieces: NumericError naming tensor, count and first index
// of what is not finite. Tensors of `as_f16` must fit into f16: UnsupportedError with the remedy.
// Returns the hash of all names, dtypes, shapes and values.
std::string scan_weights(const spec::Checkpoint& checkpoint, const std::set<std::string>& as_f16,
                         const Context& context);

// Tensor `ref` in pieces of whole rows, each at most about 16 MiB: f(first row, rows, values as
// stored).
void read_in_pieces(const files::TensorSource& tensors, const spec::TensorRef& ref,
                    const std::function<void(int64_t first, const HostTensor& piece)>& f);

}  // namespace halftone::recipe
