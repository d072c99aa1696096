#include "halftone/recipe/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "halftone/files/test_files.h"
#include "halftone/recipe/library.h"
#include "halftone/recipe/test_parts.h"
#include "halftone/recipe/yaml.h"

namespace halftone::recipe {
namespace {

using files::testing_files::line_of;
using files::testing_files::TempFolder;
using testing::HasSubstr;

std::string refusal(const std::string& yaml) {
  return line_of([&] {
    Recipe r = recipe_from_json(parse_yaml(yaml, "r.yaml"), "r", "r.yaml");
    resolve(r, test_parts());
  });
}

Recipe made(const std::string& yaml) {
  Recipe r = recipe_from_json(parse_yaml(yaml, "r.yaml"), "r", "r.yaml");
  resolve(r, test_parts());
  return r;
}

TEST(Yaml, PlainScalarsFollowTheCoreSchema) {
  EXPECT_EQ(
      parse_yaml("{a: 3, b: -0.5, c: true, d: null, e: yes, f: 0x10, g: .inf, h: '7', i: 1e3, j: }",
                 "r")
          .dump(),
      R"({"a":3,"b":-0.5,"c":true,"d":null,"e":"yes","f":"0x10","g":".inf","h":"7","i":1000.0,"j":null})");
  EXPECT_EQ(parse_yaml("a: &x [1, 2]\nb: *x\n", "r").dump(), R"({"a":[1,2],"b":[1,2]})");
  EXPECT_TRUE(parse_yaml("", "r").is_null());
}

TEST(Yaml, HostileTextIsRefusedWithItsPlace) {
  const auto refused = [](const std::string& text) {
    return line_of([&] { parse_yaml(text, "r.yaml"); });
  };
  EXPECT_EQ(refused("a: 1\na: 2\n"),
            "error[E_USAGE] r.yaml: line 2, column 1: key \"a\" appears twice");
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "- ";
  EXPECT_THAT(refused(deep.substr(0, 200) + "x"), HasSubstr("nested deeper than 32"));
  EXPECT_THAT(refused(deep + "x"), HasSubstr("nested deeper than 32"));
  EXPECT_THAT(refused(std::string(300'000, '[')), HasSubstr("error[E_USAGE] r.yaml: line 1"));
  EXPECT_THAT(refused(std::string(300'000, '{')), HasSubstr("error[E_USAGE] r.yaml: line 1"));
  EXPECT_THAT(refused("a: [1, 2"), HasSubstr("not valid YAML"));
  EXPECT_THAT(refused("? [1, 2]\n: 3\n"), HasSubstr("a list or map as a key"));
  EXPECT_THAT(refused("a: !!python/object:os.system x\n"), HasSubstr("tag"));
  EXPECT_THAT(refused("a: 1\n---\nb: 2\n"), HasSubstr("a second document"));
  EXPECT_THAT(refused("a: \xff\n"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(refused(std::string(2 << 20, ' ')), HasSubstr("a recipe has at most"));
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int j = 0; j < 9; ++j) laughs += ", " + before;
    laughs += "]\n";
  }
  EXPECT_THAT(refused(laughs), HasSubstr("more than 20000 values"));
}

TEST(Recipe, UnknownKeysAreRefusedWithTheNearest) {
  EXPECT_EQ(refusal("roundr: nearest"),
            "error[E_USAGE] r.yaml: unknown key \"roundr\"; did you mean rounder?");
  EXPECT_EQ(refusal("calibration: {lenght: 3}"),
            "error[E_USAGE] r.yaml: calibration: unknown key \"lenght\"; did you mean length?");
  EXPECT_EQ(refusal("rounder: {name: feedback, swepes: 3}"),
            "error[E_USAGE] rounder feedback: unknown key \"swepes\"; did you mean sweeps?");
  EXPECT_EQ(refusal("rounder: neerest"),
            "error[E_USAGE] rounder: unknown rounder \"neerest\"; did you mean nearest?");
  EXPECT_EQ(refusal("overrides: [{role: [mlp_down], keep: true}]"),
            "error[E_USAGE] r.yaml: override 1: unknown key \"role\"; did you mean roles?");
  EXPECT_EQ(refusal("overrides: [{roles: [mlp_dwn], keep: true}]"),
            "error[E_USAGE] r.yaml: override 1: unknown role \"mlp_dwn\"; did you mean mlp_down?");
  EXPECT_EQ(
      refusal("overrides: [{roles: [mlp_down]}]"),
      "error[E_USAGE] r.yaml: override 1: changes nothing; give it a format, a rounder or keep");
  EXPECT_EQ(refusal("layout: halftoon"),
            "error[E_USAGE] r.yaml: layout is \"halftoon\"; did you mean halftone?");
  EXPECT_EQ(refusal("schema: 2"),
            "error[E_USAGE] r.yaml: recipe schema 2 is newer than this program; this version reads "
            "schema 1");
  EXPECT_EQ(refusal("format: int4-g64"),
            "error[E_USAGE] r.yaml: format: \"int4-g64\" is not a format; write one such as "
            "int4_g64, int8 or int3_g128_asym");
  EXPECT_THAT(refusal("calibration: {samples: 0}"),
              HasSubstr("samples is \"0\", wanted a whole number from 1"));
  EXPECT_THAT(refusal("sequential: 1"), HasSubstr("wanted true or false"));
  EXPECT_THAT(refusal("[1]"), HasSubstr("wanted a map of keys"));
  EXPECT_THAT(refusal("transforms: [smooth]"), HasSubstr("unknown transform \"smooth\""));
}

TEST(Recipe, EveryValueReplacedIsAnAnswer) {
  const Json good =
      to_json(made("{format: int3_g32, rounder: {name: feedback, sweeps: 2}, calibration: "
                   "{samples: 4}, keep: [embedding, head],\n"
                   " overrides: [{roles: mlp_down, layers: '1,3-', format: {bits: 8}}, {ops: [a], "
                   "rounder: nearest}]}"));
  const std::vector<Json> values = {nullptr,
                                    true,
                                    0,
                                    -1,
                                    3,
                                    int64_t{1} << 40,
                                    uint64_t{1} << 63,
                                    0.5,
                                    "",
                                    "x",
                                    "int4_g64",
                                    Json::array(),
                                    Json::array({1}),
                                    Json::object(),
                                    Json{{"name", 1}}};
  const spec::ModelSpec model = toy_spec(4, false);
  int64_t refused = 0;
  std::set<std::string> places;
  const Json flat = good.flatten();
  for (const auto& [pointer, old] : flat.items())
    for (std::string at = pointer; !at.empty(); at = at.substr(0, at.rfind('/'))) places.insert(at);
  for (const std::string& at : places) {
    for (const Json& value : values) {
      Json json = good;
      json[Json::json_pointer(at)] = value;
      const std::string line = line_of([&] {
        Recipe r = recipe_from_json(json, "r", "r.yaml");
        resolve(r, test_parts());
        assign(r, model, test_parts());
      });
      EXPECT_TRUE(line == "no error" ||
                  (line.starts_with("error[E_") && !line.starts_with("error[E_INTERNAL]")))
          << at << " = " << value << ": " << line;
      refused += line != "no error";
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(Recipe, ClashesNameBothPartsAndTheReason) {
  EXPECT_EQ(refusal("{format: int4_g64_asym, rounder: feedback}"),
            "error[E_UNSUPPORTED] recipe r: rounder feedback and format int4_g64_asym clash: it "
            "keeps one zero for all columns");
  EXPECT_EQ(refusal("{allocator: uniform, overrides: [{roles: mlp_down, format: int8}]}"),
            "error[E_UNSUPPORTED] recipe r: allocator uniform does not fit the overrides: it gives "
            "every linear one format and would "
            "ignore theirs; use allocator by_list");
}

TEST(Recipe, ResolvedRecipeSaysEverythingAndReadsBack) {
  const Recipe r = made(
      "{format: int3_g32, rounder: {name: feedback, sweeps: 2}, overrides: [{roles: mlp_down, "
      "layers: '1,3-', format: {bits: 8}}]}");
  EXPECT_EQ(r.allocator.name, "by_list");
  ASSERT_TRUE(r.calibration.has_value());
  EXPECT_EQ(r.calibration->samples, 32);
  const Json json = to_json(r);
  EXPECT_EQ(json["rounder"].dump(), R"({"name":"feedback","sweeps":2,"list_groups":false})");
  EXPECT_EQ(json["overrides"][0]["layers"], "1,3-");
  EXPECT_EQ(json["overrides"][0]["format"]["group"], 32);
  EXPECT_EQ(json["overrides"][0]["format"]["bits"], 8);
  Recipe again = recipe_from_json(parse_json(canonical(json), "r"), "other", "r");
  resolve(again, test_parts());
  EXPECT_EQ(again, r);
  EXPECT_EQ(canonical(to_json(again)), canonical(json));
  // Without a part that looks at inputs there is nothing to calibrate.
  EXPECT_FALSE(made("{rounder: nearest, calibration: {samples: 3}}").calibration.has_value());
}

TEST(Recipe, LayerRangesAreRead) {
  using Ranges = std::vector<std::pair<int64_t, int64_t>>;
  EXPECT_EQ(parse_layers("0-3,7, 28-", "s"), (Ranges{{0, 3}, {7, 7}, {28, -1}}));
  EXPECT_EQ(parse_layers(" 5 ", "s"), (Ranges{{5, 5}}));
  for (const char* bad :
       {"", "a", "3-1", "-1", "1,", ",1", "1--2", "1 2", "1;2", "99999999999", "+1"})
    EXPECT_THAT(line_of([&] { parse_layers(bad, "s"); }), HasSubstr("write numbers and ranges"))
        << bad;
}

TEST(Recipe, NamesSayMethodAndFormat) {
  auto env = posix_env();
  const auto format = [&](const std::string& name) { return load_recipe(name, *env).format; };
  EXPECT_EQ(format("rtn_int8").label(), "int8");
  EXPECT_EQ(format("rtn_int8").granularity, format::Granularity::row);
  EXPECT_EQ(format("rtn_int4_g64").label(), "int4_g64");
  EXPECT_EQ(format("gptq_int3_g64").label(), "int3_g64");
  EXPECT_EQ(format("gptq_int2_g32_asym").label(), "int2_g32_asym");
  EXPECT_EQ(format("rtn_search_int4_g128").label(), "int4_g128");
  EXPECT_EQ(format("gptq_int8_tensor_clip").label(), "int8_tensor_clip");
  EXPECT_EQ(load_recipe("gptq", *env).format.label(), "int4_g64");
  EXPECT_EQ(load_recipe("gptq_int4_g32", *env).name, "gptq_int4_g32");
  EXPECT_EQ(load_recipe("gptq_int4_g32", *env).rounder.name, "gptq");
  EXPECT_EQ(load_recipe("rtn_int4_g32", *env).rounder.name, "nearest");

  const auto refused = [&](const std::string& name) {
    return line_of([&] { load_recipe(name, *env); });
  };
  EXPECT_EQ(refused("gptk_int4_g64"),
            "error[E_USAGE] recipe: unknown recipe \"gptk_int4_g64\": there is no method \"gptk\"; "
            "did you mean gptq_int4_g64?");
  EXPECT_THAT(refused("gptqq"), HasSubstr("did you mean gptq?"));
  EXPECT_THAT(refused("nearest_int4_g64"), HasSubstr("did you mean rtn_int4_g64?"));
  EXPECT_THAT(refused("nearest_search_int4_g64"), HasSubstr("did you mean rtn_search_int4_g64?"));
  EXPECT_EQ(load_recipe("ldlq_int4_g64", *env).rounder.name, "ldlq");
  EXPECT_THAT(refused("awq_int4_g64"), HasSubstr("\"awq\"; methods: gptq, ldlq, obq, rtn"));
  EXPECT_EQ(refused("gptq_int4_g0"),
            "error[E_USAGE] format: the group of \"gptq_int4_g0\" is 0; a group has 1 column or "
            "more; without _g there is one scale a row");
  EXPECT_THAT(refused("quux_int4_g64"), HasSubstr("methods: gptq"));
  EXPECT_THAT(refused("int4_g64"), HasSubstr("unknown recipe"));
  EXPECT_THAT(refused("gptq_int9_g64"), HasSubstr("bits"));
  EXPECT_THAT(refused("gptq_flt4_g64"), HasSubstr("unknown format kind \"flt\""));
  EXPECT_THAT(refused("absent.yaml"), HasSubstr("no such file"));
}

TEST(Recipe, EveryBuiltinRecipeResolves) {
  auto env = posix_env();
  ASSERT_GE(builtin_recipes().size(), 4u);
  for (const BuiltinRecipe& builtin : builtin_recipes()) {
    Recipe r = load_recipe(std::string(builtin.name), *env);
    EXPECT_FALSE(r.summary.empty()) << builtin.name;
    const Parts parts = builtin_parts();
    EXPECT_NO_THROW(resolve(r, parts)) << builtin.name;
    EXPECT_EQ(r.calibration.has_value(), !needs(r, parts).empty()) << builtin.name;
  }
}

TEST(Recipe, AFileIsReadAndSoIsTheRecipeOfAnOutput) {
  TempFolder folder;
  const std::string path = folder.write("mine.yaml", "format: int8\nrounder: nearest\n");
  EXPECT_EQ(load_recipe(path, folder.env()).name, "mine");
  EXPECT_EQ(load_recipe(path, folder.env()).format.label(), "int8");
  Recipe r = load_recipe(path, folder.env());
  resolve(r, test_parts());
  const std::string receipt =
      folder.write("halftone.json", Json{{"schema", 1}, {"recipe", to_json(r)}}.dump());
  Recipe again = load_recipe(receipt, folder.env());
  resolve(again, test_parts());
  EXPECT_EQ(again, r);
}

class Assigning : public testing::Test {
 protected:
  std::string format_of(const Recipe& r, const std::string& op) {
    const auto assigned = assign(r, spec, test_parts());
    const auto* format = assigned.plan.find(op, format::Port::weight);
    return format ? format->label() : "dense";
  }
  spec::ModelSpec spec = toy_spec(4, false);
};

TEST_F(Assigning, HeadStaysDenseUnlessAsked) {
  const Recipe r = made("format: int4_g16");
  EXPECT_EQ(format_of(r, "model.layers.0.mlp.down_proj"), "int4_g16");
  EXPECT_EQ(format_of(r, "lm_head"), "dense");
  EXPECT_EQ(format_of(made("{format: int4_g16, keep: [embedding]}"), "lm_head"), "int4_g16");
  EXPECT_EQ(assign(r, spec, test_parts()).choices.size(), 28u);
  EXPECT_EQ(assign(r, spec, test_parts()).kept, std::vector<std::string>{"lm_head"});
}

TEST_F(Assigning, LaterOverridesWin) {
  const Recipe r = made(
      "format: int4_g16\n"
      "overrides:\n"
      "  - {roles: [mlp_down, mlp_up], format: int8}\n"
      "  - {layers: '1-2', format: {bits: 3}}\n"
      "  - {ops: model.layers.2.mlp.up_proj, format: int2_g16, rounder: {name: feedback, sweeps: "
      "2}}\n"
      "  - {layers: 3, roles: value, keep: true}\n");
  EXPECT_EQ(format_of(r, "model.layers.0.mlp.down_proj"), "int8");
  EXPECT_EQ(format_of(r, "model.layers.1.mlp.down_proj"), "int3_g16");
  EXPECT_EQ(format_of(r, "model.layers.2.mlp.up_proj"), "int2_g16");
  EXPECT_EQ(format_of(r, "model.layers.3.mlp.up_proj"), "int8");
  EXPECT_EQ(format_of(r, "model.layers.3.self_attn.v_proj"), "dense");
  EXPECT_EQ(format_of(r, "model.layers.3.self_attn.q_proj"), "int4_g16");
  const auto assigned = assign(r, spec, test_parts());
  for (const Choice& c : assigned.choices)
    EXPECT_EQ(c.rounder.name, c.op == "model.layers.2.mlp.up_proj" ? "feedback" : "nearest")
        << c.op;
}

TEST_F(Assigning, SlipsAreRefused) {
  const auto refused = [&](const std::string& yaml, const spec::ModelSpec& model) {
    return line_of([&] { assign(made(yaml), model, test_parts()); });
  };
  EXPECT_EQ(
      refused("overrides: [{layers: 2-4, keep: true}]", spec),
      "error[E_USAGE] recipe r: override 1: layer 4 does not exist; the model has blocks 0-3");
  EXPECT_EQ(refused("overrides: [{ops: model.layers.0.mlp.dow_proj, keep: true}]", spec),
            "error[E_USAGE] recipe r: override 1: the model has no linear "
            "\"model.layers.0.mlp.dow_proj\"; did you mean "
            "model.layers.0.mlp.down_proj?");
  EXPECT_EQ(refused("overrides: [{roles: pooler, keep: true}]", spec),
            "error[E_USAGE] recipe r: override 1: matches no linear of the model");
  EXPECT_EQ(refused("keep: [embedding, haed]", spec),
            "error[E_USAGE] recipe r: keep: \"haed\" is neither a role nor a linear of the model; "
            "did you mean head?");
  EXPECT_EQ(refused("keep: [head]", spec),
            "error[E_UNSUPPORTED] recipe r: embeddings cannot be quantized; add embedding to the "
            "recipe's keep");
  EXPECT_THAT(refused("keep: embedding", toy_spec(2, true)),
              HasSubstr("shares its weight with the embedding"));
  EXPECT_THAT(refused("{keep: embedding, rounder: feedback}", spec),
              HasSubstr("lies outside of the blocks"));
  EXPECT_THAT(refused("overrides: [{layers: 0-, keep: true}]", spec),
              HasSubstr("quantizes nothing"));
}

}  // namespace
}  // namespace halftone::recipe
