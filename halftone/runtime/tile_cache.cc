#include "halftone/runtime/tile_cache.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "halftone/base/error.h"
#include "halftone/base/hash.h"
#include "halftone/spec/model_names.h"

namespace halftone::runtime {
namespace {

constexpr std::string_view kKey = "halftone_tiles", kLinears = "linears";

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& v) {
  return std::as_bytes(std::span(v));
}

std::string hex(uint64_t x) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(x));
  return text.data();
}

// Names, sizes and times of the files that a model is made of.
Json state_of(const spec::Checkpoint& checkpoint, const Context& context) {
  Json files = Json::array();
  for (const std::string& path : spec::model_files(*context.env, checkpoint.path))
    if (const auto info = context.env->stat(path))
      files.push_back({file_name(path), info->size, info->modified_ns});
  return files;
}

Json layout_of(const TiledLinear& t) {
  const kernel::Tiles& v = t.weights->view();
  return {{"rows", v.rows},
          {"cols", v.cols},
          {"group", v.group},
          {"groups", v.groups},
          {"sub", v.sub_offset >= 0 ? v.sub : 0},
          {"zeros", v.zeros_offset >= 0},
          {"store", static_cast<int>(v.store)},
          {"bits", v.bits},
          {"pairs", v.pairs != 0},
          {"zero", v.zero},
          {"book", v.book != 0 ? std::vector<float>(v.value, v.value + 16) : std::vector<float>()},
          {"scales_f32", v.scales_f32 != 0},
          {"gather", t.preparation.transform.gather.size()},
          {"scale", t.preparation.transform.scale.size()},
          {"bias", t.bias.size()}};
}

kernel::Tiles tiles_of(const Json& j) {
  kernel::Tiles v{};
  v.rows = j.at("rows");
  v.cols = j.at("cols");
  v.group = j.at("group");
  v.groups = j.at("groups");
  v.sub = j.at("sub");
  v.sub_offset = v.sub != 0 ? 0 : -1;
  v.zeros_offset = j.at("zeros").get<bool>() ? 0 : -1;
  v.store = static_cast<kernel::Store>(j.at("store").get<int>());
  v.bits = j.at("bits");
  v.pairs = j.at("pairs").get<bool>() ? 1 : 0;
  v.zero = j.at("zero");
  const auto book = j.at("book").get<std::vector<float>>();
  v.book = book.size() == 16;
  if (v.book != 0) std::copy(book.begin(), book.end(), v.value);
  v.scales_f32 = j.at("scales_f32").get<bool>() ? 1 : 0;
  return v;
}

}  // namespace

TileCache::TileCache(const std::string& folder, const pack::PackedModel& packed,
                     const LoadOptions& options, const Context& context)
    : context_(context), folder_(folder) {
  const spec::Checkpoint& checkpoint = packed.checkpoint();
  // exact needs scales as stored, int8 may keep them in two levels, tables lay out 2 bits their way
  const std::string numerics(numerics_name(options.numerics));
  const std::string which =
      Json({checkpoint.path, options.head_bits, numerics, options.activation_block}).dump();
  path_ = join_path(folder, file_name(checkpoint.path) + "-" +
                                hex(hash64(std::as_bytes(std::span(which)))) + ".safetensors");
  key_ = Json({{"layout", kernel::kTileLayout},
               {"head_bits", options.head_bits},
               {"mode", numerics},
               {"activation_block", options.activation_block},
               {"files", state_of(checkpoint, context)}})
             .dump();
  if (!context.env->stat(path_)) return;
  try {
    const auto file = files::open_safetensors(path_, context);
    const auto key = file->metadata().find(std::string(kKey));
    if (key == file->metadata().end() || key->second != key_) {
      const Json kept = key == file->metadata().end() ? Json() : parse_json(key->second, path_);
      const int64_t layout = kept.is_object() ? kept.value("layout", int64_t{0}) : 0;
      context.info("tile cache " + path_ +
                   (layout != kernel::kTileLayout
                        ? " holds tiles of layout " + std::to_string(layout) +
                              ", this version's is " + std::to_string(kernel::kTileLayout)
                        : std::string(" is older than the model")) +
                   ": written anew");
      return;
    }
    const Json linears = parse_json(file->metadata().at(std::string(kLinears)), path_);
    for (const auto& [name, layout] : linears.items()) kept_[name] = read(file, name, layout);
  } catch (const std::exception& e) {
    context.warn("tile cache " + path_ + " cannot be used and is written anew: " + e.what());
    kept_.clear();
  }
}

const TiledLinear* TileCache::find(const std::string& name) const {
  const auto kept = kept_.find(name);
  return kept == kept_.end() ? nullptr : &kept->second;
}

TiledLinear TileCache::read(const std::shared_ptr<const files::SafetensorsSource>& file,
                            const std::string& name, const Json& j) const {
  const auto all = file->mapped(name);
  size_t at = 0;
  const auto take = [&](size_t bytes) {
    if (bytes > all.size() - at)
      throw FileError(Code::truncated, path_, "the tiles of " + quote(name) + " are cut short");
    const auto part = all.subspan(at, bytes);
    at += bytes;
    return part;
  };
  const auto vector = [&]<class T>(std::vector<T>& out, const char* key) {
    const size_t count = j.at(key);
    out.resize(std::min(count, all.size()));
    const auto bytes = take(count * sizeof(T));
    if (count > 0) std::memcpy(out.data(), bytes.data(), bytes.size());
  };
  const kernel::Tiles like = tiles_of(j);
  TiledLinear t;
  const size_t tiles = j.at("tile_bytes");
  t.weights =
      std::make_shared<kernel::TiledWeights>(kernel::TiledWeights::mapped(like, take(tiles), file));
  vector(t.preparation.transform.gather, "gather");
  vector(t.preparation.transform.scale, "scale");
  vector(t.bias, "bias");
  return t;
}

void TileCache::add(const std::string& name, const TiledLinear& linear) { added_[name] = linear; }

void TileCache::finish() {
  if (added_.empty()) return;
  Json linears = Json::object();
  std::vector<files::TensorDecl> tensors;
  for (const auto& [name, t] : added_) {
    Json j = layout_of(t);
    j["tile_bytes"] = t.weights->bytes();
    linears[name] = std::move(j);
    const auto& transform = t.preparation.transform;
    const uint64_t bytes = static_cast<uint64_t>(t.weights->bytes()) +
                           4 * (transform.gather.size() + transform.scale.size() + t.bias.size());
    tensors.push_back({name, DType::u8, {static_cast<int64_t>((bytes + 63) / 64 * 64)}});
  }
  const std::string temporary = path_ + ".partial";
  Env& env = *context_.env;
  try {
    env.make_directories(folder_);
    const auto lock = env.lock(path_ + ".lock");
    files::SafetensorsWriter out(
        env, temporary, tensors,
        {{std::string(kKey), key_}, {std::string(kLinears), linears.dump()}}, 64);
    for (const auto& decl : out.order()) {
      const TiledLinear& t = added_.at(decl.name);
      auto left = static_cast<size_t>(decl.shape[0]);
      const auto write = [&](std::span<const std::byte> bytes) {
        out.write(decl.name, bytes);
        left -= bytes.size();
      };
      write(t.weights->tile_data());
      write(bytes_of(t.preparation.transform.gather));
      write(bytes_of(t.preparation.transform.scale));
      write(bytes_of(t.bias));
      write(std::vector<std::byte>(left));
    }
    out.finish();
    env.rename(temporary, path_);
    env.sync_directory(folder_);
    context_.info("tile cache: wrote " + path_);
  } catch (const Error& e) {
    context_.warn("tile cache " + path_ + " was not written: " + e.what());
    try {
      env.remove(temporary);
    } catch (const Error&) {
      // the warning above says what is wrong with this folder
    }
  }
  added_.clear();
}

}  // namespace halftone::runtime
