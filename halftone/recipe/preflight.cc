#include "halftone/recipe/preflight.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>

#include "halftone/base/env.h"
#include "halftone/base/hash.h"

namespace halftone::recipe {
namespace {

constexpr int64_t kPieceBytes = 16 << 20;

// Exponent all ones, for each float type as stored; other types are always finite.
struct Finite {
  int64_t bad = 0, first = -1;
  void look(int64_t index, bool finite) {
    if (finite) return;
    if (bad++ == 0) first = index;
  }
  void scan(const HostTensor& piece, int64_t base) {
    const auto each = [&](auto values, auto finite) {
      for (size_t i = 0; i < values.size(); ++i)
        look(base + static_cast<int64_t>(i), finite(values[i]));
    };
    switch (piece.dtype()) {
      case DType::f32:
        each(piece.as<uint32_t>(), [](uint32_t v) { return (v & 0x7f800000u) != 0x7f800000u; });
        break;
      case DType::f16:
        each(piece.as<uint16_t>(), [](uint16_t v) { return (v & 0x7c00u) != 0x7c00u; });
        break;
      case DType::bf16:
        each(piece.as<uint16_t>(), [](uint16_t v) { return (v & 0x7f80u) != 0x7f80u; });
        break;
      case DType::f64:
        each(piece.as<double>(), [](double v) { return std::isfinite(v); });
        break;
      case DType::f8_e4m3:
        each(piece.as<uint8_t>(), [](uint8_t v) { return (v & 0x7fu) != 0x7fu; });
        break;
      case DType::f8_e5m2:
        each(piece.as<uint8_t>(), [](uint8_t v) { return (v & 0x7cu) != 0x7cu; });
        break;
      default:
        break;
    }
  }
};

}  // namespace

void Findings::look(const std::function<void()>& check) {
  try {
    check();
  } catch (const Error& e) {
    if (e.code() == Code::interrupted) throw;
    errors_.push_back(e);
  }
}

void Findings::throw_if_any() const {
  if (errors_.empty()) return;
  if (errors_.size() == 1) throw errors_.front();
  std::string all = std::to_string(errors_.size()) + " problems:";
  for (size_t i = 0; i < errors_.size(); ++i)
    all += " (" + std::to_string(i + 1) + ") " + errors_[i].line().substr(5);  // without "error"
  throw Error(errors_.front().code(), "", all);
}

std::string nearest_folder(Env& env, const std::string& path) {
  std::string folder = parent_path(path);
  while (!env.stat(folder) && folder != "." && folder != "/") folder = parent_path(folder);
  return folder;
}

void check_output_is_not_input(Env& env, const std::string& output, const std::string& input) {
  // new/../model is nowhere until the work folder makes new/, and is the model from then on.
  for (size_t at = output.find("/.."); at != std::string::npos; at = output.find("/..", at + 1)) {
    const std::string before = output.substr(0, at);
    if (!before.empty() && (at + 3 == output.size() || output[at + 3] == '/') && !env.stat(before))
      throw InputError(output, "leads through " + before + ", which does not exist",
                       "give a path without ..");
  }
  const auto out = env.stat(output);
  if (!out) return;
  std::string at = input;
  std::optional<FileInfo> below;
  for (int steps = 0; steps < 256; ++steps) {
    const auto info = env.stat(at);
    if (!info) return;
    if (info->device == out->device && info->inode == out->inode)
      throw InputError(
          output,
          at == input ? "the output is the input model" : "the output folder holds the input model",
          "give another -o");
    if (below && below->device == info->device && below->inode == info->inode)
      return;  // the root is its own parent
    below = info;
    if (at == "/") return;
    at = at == "."                           ? ".."
         : at == ".." || at.ends_with("/..") ? join_path(at, "..")
                                             : parent_path(at);
  }
}

void check_output_is_free(Env& env, const QuantizeRequest& request) {
  const std::string name = file_name(request.output);
  if (name.empty() || name == "." || name == "..")
    throw InputError(
        request.output, "is the folder itself, which cannot be replaced",
        "give the output a name of its own, as in -o " + join_path(request.output, "model"));
  // What only the last rename would find out.
  const Place place = env.place(request.output);
  if (place == Place::link)
    throw InputError(request.output, "is a symbolic link, which cannot be replaced",
                     "give the folder itself, or another -o");
  if (place == Place::mount_point)
    throw InputError(request.output, "is a mount point, which cannot be replaced",
                     "give a folder in it, as in -o " + join_path(request.output, "model"));
  const auto info = env.stat(request.output);
  if (!info) return;
  if (!info->is_directory)
    throw InputError(request.output, "exists and is not a folder", "give another -o");
  if (request.resume || env.list(request.output).empty()) return;
  if (request.force && env.stat(join_path(request.output, "halftone.json"))) return;
  if (request.force)
    throw InputError(request.output,
                     "holds no halftone.json: it is no result of halftone, so it is not replaced",
                     "remove it by hand, or give another -o");
  throw InputError(request.output, "exists already",
                   "--force replaces it; --resume checks that it is this run's result");
}

void probe_writable(Env& env, const std::string& output) {
  const std::string folder = nearest_folder(env, output);
  const std::string probe = join_path(folder, ".halftone-probe-" + std::to_string(::getpid()));
  try {
    env.create(probe)->close();
  } catch (const IoError& e) {
    throw IoError(folder, "write in folder", e.error_number,
                  "give an -o in a folder that you may write in");
  }
  env.remove(probe);
}

void check_free_space(Env& env, const std::string& output, const std::string& work,
                      uint64_t needed) {
  uint64_t have = 0;
  if (env.stat(work))
    for (const std::string& name : env.list(work))
      if (const auto info = env.stat(join_path(work, name)); info && info->is_regular)
        have += info->size;
  const uint64_t wanted = static_cast<uint64_t>(static_cast<double>(needed) * 1.02);
  const uint64_t free = env.free_space(nearest_folder(env, output));
  if (free + have >= wanted) return;
  throw IoError(output,
                "reserve space (needs " + std::to_string(wanted - have) + " bytes, " +
                    std::to_string(free) + " are free)",
                ENOSPC, "free some space, or give an -o on another disk");
}

void read_in_pieces(const files::TensorSource& tensors, const spec::TensorRef& ref,
                    const std::function<void(int64_t first, const HostTensor& piece)>& f) {
  const int64_t rows = ref.shape.empty() ? 1 : ref.shape[0];
  const int64_t row_bytes =
      std::max<int64_t>(1, element_count(ref.shape) / std::max<int64_t>(rows, 1) * 4);
  const int64_t step = std::max<int64_t>(1, kPieceBytes / row_bytes);
  if (ref.shape.empty() || rows <= step) {
    f(0, tensors.read(ref.name));
    return;
  }
  for (int64_t row = 0; row < rows; row += step)
    f(row, tensors.read_rows(ref.name, row, std::min(rows, row + step)));
}

std::string scan_weights(const spec::Checkpoint& checkpoint, const std::set<std::string>& as_f16,
                         const Context& context) {
  const auto tensors = spec::tensors(checkpoint.spec);
  double total = 0, done = 0;
  for (const auto& ref : tensors) total += static_cast<double>(element_count(ref.shape));
  Hasher hasher;
  for (const auto& ref : tensors) {
    context.throw_if_stopped();
    hasher.add(ref.name).add(to_string(ref.shape));
    Finite finite;
    const int64_t row =
        ref.shape.empty() ? 1 : element_count(ref.shape) / std::max<int64_t>(ref.shape[0], 1);
    read_in_pieces(*checkpoint.tensors, ref, [&](int64_t first, const HostTensor& piece) {
      hasher.add(dtype_name(piece.dtype())).add(piece.bytes());
      finite.scan(piece, first * row);
      if (as_f16.contains(ref.name) && piece.dtype() != DType::f16 && finite.bad == 0 &&
          overflows_f16(to_f32(piece).as<float>()))
        throw UnsupportedError(checkpoint.path,
                               "tensor " + quote(ref.name) + " has values beyond f16's 65504",
                               "set dense_dtype to bf16 or f32 in the recipe");
      done += static_cast<double>(piece.count());
      context.progress(
          {.stage = "check weights", .detail = ref.name, .done = done, .total = total, .unit = ""});
    });
    if (finite.bad > 0)
      throw NumericError(checkpoint.path,
                         "tensor " + quote(ref.name) + " has " + std::to_string(finite.bad) +
                             " values that are not finite, the first at index " +
                             std::to_string(finite.first),
                         "the file is damaged, or the model's training diverged");
  }
  return hasher.hex();
}

}  // namespace halftone::recipe
