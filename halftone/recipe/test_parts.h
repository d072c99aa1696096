// Shared by the tests of this folder: a small LLaMA-shaped model, and a rounder that looks at
// Hessians without a linear algebra library.
#pragma once

#include "halftone/recipe/recipe.h"

namespace halftone::recipe {

// The built-in parts and the rounder `feedback`: coordinate descent on tr((Q-W) H (Q-W)^T) from
// nearest rounding.
const Parts& test_parts();

Json toy_config(int64_t blocks, bool tied);  // width 32, 4 heads over 2, mlp 48, vocabulary 64
spec::ModelSpec toy_spec(int64_t blocks, bool tied);

}  // namespace halftone::recipe
