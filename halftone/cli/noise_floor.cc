#include "halftone/cli/noise_floor.h"

#include <algorithm>

#include "halftone/runtime/logit_source.h"

namespace halftone::cli {

NoiseFloor noise_floor(const runtime::Model& reference, int64_t windows, const Context& context) {
  const auto kept = reference.kv_type(),
             other = kept == runtime::KvType::f16 ? runtime::KvType::f32 : runtime::KvType::f16;
  return {
      .source = std::make_unique<runtime::RuntimeLogits>(
          runtime::Model::with_kv(reference, other, context), runtime::SessionOptions{}, context),
      .what = "the reference with keys and values in " + std::string(runtime::kv_type_name(other)) +
              " instead of " + std::string(runtime::kv_type_name(kept)),
      .windows = std::max<int64_t>(1, windows / 8)};
}

Json json_of(const NoiseFloor& floor, const eval::Divergence* d) {
  Json out = {{"what", floor.what}, {"windows", floor.windows}};
  for (const char* key : {"kl_mean", "js_mean", "top1_agreement", "top5_agreement"})
    out[key] = nullptr;
  if (d != nullptr)
    out.update({{"kl_mean", d->kl_mean},
                {"js_mean", d->js_mean},
                {"top1_agreement", d->top1_agreement},
                {"top5_agreement", d->top5_agreement}});
  return out;
}

}  // namespace halftone::cli
