// Runs that were killed, interrupted, damaged or are still going on.
#include "halftone/recipe/test_driver.h"

namespace halftone::recipe {
namespace {

TEST_F(Driver, KilledAtEveryOperationItResumesToTheSameBytes) {
  run({.output = "undisturbed"});
  const auto wanted = hashes("undisturbed");
  std::set<int64_t> reused;
  int64_t runs = 0;
  for (int64_t at = 1;; ++at) {
    CrashingEnv crashing(folder.env(), at);
    bool failed = false;
    try {
      run({.env = &crashing.env(), .spill_budget = 4000});
    } catch (const Error&) {
      failed = true;
    }
    if (!crashing.crashed()) {
      EXPECT_FALSE(failed);
      break;
    }
    ++runs;
    if (at % 2 == 0) crashing.lose_unsynced();
    // Nothing under the final name that is not whole.
    EXPECT_TRUE(!exists("out") || hashes("out") == wanted) << at;
    const QuantizeResult result = run({.resume = true});
    reused.insert(result.reused_blocks);
    ASSERT_EQ(hashes("out"), wanted) << "killed at operation " << at;
    EXPECT_FALSE(exists("out.work")) << at;
    EXPECT_EQ(result.layers.size(), 21u);
    folder.env().remove_tree(folder.in("out"));
  }
  EXPECT_GT(runs, 60);
  EXPECT_EQ(reused, (std::set<int64_t>{0, 1, 2, 3}));
}

TEST_F(Driver, KilledWhileReplacingItKeepsOneWholeOutput) {
  const std::string before = "{format: int8}", after = "{format: int4_g16}";
  run({.recipe = before});
  const auto old = hashes("out");
  CrashingEnv counting(folder.env(), 0);
  run({.recipe = after, .output = "undisturbed", .env = &counting.env()});
  const auto wanted = hashes("undisturbed");
  // From the first write into the folder that will replace the old one.
  for (int64_t at = counting.operations() - 40;; ++at) {
    CrashingEnv crashing(folder.env(), at);
    line_of([&] { run({.recipe = after, .env = &crashing.env(), .force = true}); });
    const auto now = hashes("out");
    EXPECT_TRUE(now == old || now == wanted) << at;
    if (!crashing.crashed()) break;
    run({.recipe = after, .resume = true, .force = true});
    ASSERT_EQ(hashes("out"), wanted) << at;
    EXPECT_FALSE(exists("out.work")) << at;
    run({.recipe = before, .force = true});
  }
}

TEST_F(Driver, FullDiskAtAnyWriteKeepsWhatIsDone) {
  run({.output = "undisturbed"});
  const auto wanted = hashes("undisturbed");
  for (int64_t at = 1;; ++at) {
    int64_t writes = 0;
    const auto full = fault_env(folder.env(), [&](std::string_view operation, const std::string&) {
      return operation == "write" && ++writes >= at ? ENOSPC : 0;
    });
    const std::string line = refusal({.env = full.get(), .spill_budget = 4000});
    if (writes < at) break;
    EXPECT_THAT(line, HasSubstr("error[E_IO]")) << at;
    EXPECT_THAT(line, HasSubstr("free some space")) << at;
    EXPECT_FALSE(exists("out")) << at;
    const bool begun = exists("out.work");
    for (const std::string& name :
         begun ? folder.env().list(folder.in("out.work")) : std::vector<std::string>())
      EXPECT_FALSE(name.ends_with(".tmp") || name == "out") << name;
    run({.resume = true});
    ASSERT_EQ(hashes("out"), wanted) << at;
    folder.env().remove_tree(folder.in("out"));
  }
}

TEST_F(Driver, InterruptedItNamesTheCommandThatGoesOn) {
  run({.output = "undisturbed"});
  std::atomic<bool> stop = false;
  const std::string line = refusal({.stop = &stop, .progress = [&](const Progress& p) {
                                      if (p.stage == "quantize" && p.done > 0.6 * p.total)
                                        stop = true;
                                    }});
  EXPECT_THAT(line, HasSubstr("error[E_INTERRUPTED]"));
  EXPECT_THAT(
      line,
      HasSubstr("1 of 3 blocks are finished and kept; go on with: halftone quantize m --resume"));
  EXPECT_FALSE(exists("out"));
  EXPECT_EQ(run({.resume = true}).reused_blocks, 1);
  EXPECT_EQ(hashes("out"), hashes("undisturbed"));
  EXPECT_THAT(folder.log, HasSubstr("1 of 3 blocks are reused"));
}

// Leaves an unfinished run with one finished block, and part of the next.
class Unfinished : public Driver {
 protected:
  Unfinished() {
    std::atomic<bool> stop = false;
    refusal({.stop = &stop, .progress = [&](const Progress& p) {
               if (p.stage == "quantize" && p.done > 0.6 * p.total) stop = true;
             }});
  }
};

TEST_F(Unfinished, AnotherFingerprintIsRefusedNamingTheFields) {
  EXPECT_THAT(refusal({.recipe = "{format: int3_g16, rounder: feedback, calibration: {data: x, "
                                 "samples: 5, length: 12}}",
                       .resume = true}),
              HasSubstr("holds an unfinished run with other inputs (they differ in: "
                        "recipe.format.bits); run it as before to finish it, or "
                        "--force to start over"));
  EXPECT_THAT(refusal({.resume = true, .seed = 1}), HasSubstr("(they differ in: calibration)"));
  write_model("model", 3, false, [](const std::string& name, HostTensor& t) {
    if (name == "model.layers.2.mlp.up_proj.weight") t.as<float>()[5] += 0.01f;
  });
  EXPECT_THAT(refusal({.resume = true}), HasSubstr("(they differ in: weights)"));
  folder.write("model/tokenizer.json", "{}");
  EXPECT_THAT(refusal({.resume = true}),
              HasSubstr("(they differ in: tokenizer.tokenizer.json, weights)"));
  EXPECT_EQ(run({.force = true}).reused_blocks, 0);
  EXPECT_TRUE(exists("out"));
}

TEST_F(Unfinished, WithoutResumeItGoesOnAllTheSame) { EXPECT_EQ(run({}).reused_blocks, 1); }

TEST_F(Unfinished, ADamagedPartIsDoneAgain) {
  run({.output = "undisturbed"});
  std::string part = folder.read("out.work/layer-0000.safetensors");
  part[part.size() - 3] ^= 1;
  folder.write("out.work/layer-0000.safetensors", part);
  EXPECT_EQ(run({.resume = true}).reused_blocks, 0);
  EXPECT_THAT(folder.log, HasSubstr("damaged from part 0 on"));
  EXPECT_EQ(hashes("out"), hashes("undisturbed"));
}

TEST_F(Unfinished, ATornJournalLosesOneBlock) {
  run({.output = "undisturbed"});
  const std::string journal = folder.read("out.work/journal");
  for (const std::string& torn : {journal.substr(0, journal.size() - 5),
                                  journal + "{\"kind\":\"block\",\"unit\":1", journal + journal}) {
    folder.write("out.work/journal", torn);
    const bool cut = torn.size() < journal.size();
    CrashingEnv crashing(folder.env(), 30);
    line_of([&] { run({.env = &crashing.env(), .resume = true}); });
    EXPECT_EQ(run({.resume = true}).reused_blocks >= (cut ? 0 : 1), true);
    EXPECT_EQ(hashes("out"), hashes("undisturbed"));
    folder.env().remove_tree(folder.in("out"));
    std::atomic<bool> stop = false;
    refusal({.stop = &stop, .progress = [&](const Progress& p) {
               if (p.stage == "quantize" && p.done > 0.6 * p.total) stop = true;
             }});
  }
}

// As Journal writes a line: the body, its checksum.
std::string journal_line(const Json& record) {
  char sum[17];
  const std::string body = record.dump();
  std::snprintf(sum, sizeof(sum), "%016llx",
                static_cast<unsigned long long>(hash64(std::as_bytes(std::span(body)))));
  return body + " " + sum + "\n";
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n') + 1); }

TEST_F(Unfinished, EveryFlippedByteOfTheJournalIsFound) {
  const std::string journal = first_line(folder.read("out.work/journal"));
  for (size_t i = 0; i < journal.size(); i += i < 40 || i + 40 > journal.size() ? size_t{1} : size_t{17}) {
    std::string flipped = journal;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 7)));
    folder.write("copy",
                 journal_line({{"kind", "first"}}) + flipped + journal_line({{"kind", "last"}}));
    // Before the damage everything counts, from there on nothing.
    ASSERT_EQ(Journal(folder.env(), folder.in("copy")).records().size(), 1u) << i;
    folder.write("copy", journal.substr(0, i));
    ASSERT_EQ(Journal(folder.env(), folder.in("copy")).records().size(), 0u) << i;
  }
}

TEST_F(Unfinished, StrangeRecordsWithGoodChecksumsAreDoneAgain) {
  run({.output = "undisturbed"});
  const std::string whole = first_line(folder.read("out.work/journal"));
  const Json good = parse_json(std::string_view(whole).substr(0, whole.size() - 18), "journal");
  const std::string part = folder.read("out.work/layer-0000.safetensors"),
                    before = folder.read("out.work/run.json");
  ASSERT_EQ(journal_line(good), whole);
  folder.write("secret.safetensors", part);
  std::vector<Json> records = {nullptr,       7, "block", Json::array(), Json::array({good}),
                               Json::object()};
  const std::vector<Json> values = {nullptr, uint64_t{1} << 63, "../secret.safetensors",
                                    Json::object()};
  const Json flat = good.flatten();
  std::set<std::string> places;
  for (const auto& [pointer, old] : flat.items())
    for (std::string at = pointer; !at.empty(); at = at.substr(0, at.rfind('/'))) places.insert(at);
  for (const std::string& at : places) {
    if (at.starts_with("/layers/") && !at.starts_with("/layers/0"))
      continue;  // the others are alike
    for (const Json& value : values) {
      Json record = good;
      record[Json::json_pointer(at)] = value;
      records.push_back(record);
    }
  }
  for (const Json& record : records) {
    folder.env().remove_tree(folder.in("out"));
    folder.env().make_directories(folder.in("out.work"));
    folder.write("out.work/run.json", before);
    folder.write("out.work/layer-0000.safetensors", part);
    folder.write("out.work/journal", journal_line(record));
    const std::string line = refusal({.resume = true});
    // Wrong numbers of a report cannot be told from right ones, and change nothing but the report;
    // everything else is the same run.
    if (line == "no error")
      EXPECT_EQ(folder.read("out/model.safetensors"), folder.read("undisturbed/model.safetensors"))
          << record;
    else
      EXPECT_THAT(line,
                  testing::AllOf(testing::StartsWith("error[E_"), HasSubstr("--force starts over")))
          << record;
    EXPECT_EQ(folder.read("secret.safetensors"), part);
    folder.env().remove_tree(folder.in("out.work"));
  }
}

TEST_F(Unfinished, ADamagedOrFutureRunIsNotTouchedWithoutForce) {
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "error[E_JSON]"},
           {"{\"schema\":1,", "error[E_JSON]"},
           {"[]", "error[E_MISMATCH]"},
           {"{}", "error[E_MISMATCH]"},
           {"{\"schema\":1,\"schema\":1}", "error[E_DUP]"},
           {std::string(100'000, '['), "error[E_DEPTH]"},
           {"{\"schema\":1,\"fingerprint\":7}", "error[E_MISMATCH]"},
           {"{\"schema\":2,\"fingerprint\":{}}", "error[E_VERSION]"}}) {
    folder.write("out.work/run.json", text);
    const std::string line = refusal({.resume = true});
    EXPECT_THAT(line, testing::AllOf(testing::StartsWith(part), HasSubstr("--force"))) << text;
    EXPECT_EQ(folder.read("out.work/run.json"), text);
    EXPECT_TRUE(exists("out.work/layer-0000.safetensors"));
  }
  EXPECT_EQ(run({.force = true}).reused_blocks, 0);
}

TEST_F(Driver, AReceiptThatContradictsItselfIsRefused) {
  const QuantizeResult result = run({});
  const Json good = parse_json(folder.read("out/halftone.json"), "halftone.json");
  const auto with = [&](const std::function<void(Json&)>& change) {
    Json receipt = good;
    change(receipt);
    folder.write("out/halftone.json", receipt.dump());
    return refusal({.resume = true});
  };
  EXPECT_EQ(with([](Json&) {}), "no error");
  for (const auto& line :
       {with([](Json& r) { r.erase("layers"); }), with([](Json& r) { r["layers"] = 7; }),
        with([](Json& r) { r["layers"][0] = 7; }),
        with([](Json& r) { r["layers"][0]["op"] = "lm_head"; }),
        with([](Json& r) { r["layers"][0] = r["layers"][1]; }),
        with([](Json& r) { r["layers"].erase(0); }),
        with([](Json& r) { r["layers"][0]["error"] = "much"; }),
        with([](Json& r) { r["layers"][0]["format"] = nullptr; })})
    EXPECT_THAT(line, testing::AllOf(testing::StartsWith("error[E_"), HasSubstr("halftone.json"),
                                     HasSubstr("--force")));
  // Another run's receipt, or none that can be read: somebody else's folder.
  for (const auto& line :
       {with([](Json& r) { r["fingerprint"] = 7; }), with([](Json& r) { r.erase("fingerprint"); }),
        with([](Json& r) { r = Json::array(); })})
    EXPECT_THAT(line, HasSubstr("exists already and is another run's result; --force replaces it"));
  folder.write("out/halftone.json", "{");
  EXPECT_THAT(refusal({.resume = true}), HasSubstr("--force replaces it"));
  EXPECT_EQ(run({.force = true}).fingerprint, result.fingerprint);
}

TEST_F(Unfinished, AnotherEngineIsFoundOut) {
  EXPECT_THAT(refusal({.resume = true, .blind = true}),
              HasSubstr("gives other hidden states than in the run to go on with"));
}

TEST_F(Driver, TwoProcessesDoNotShareAWorkFolder) {
  {
    const WorkFolder other(folder.context, folder.in("out"));
    const std::string line = refusal({});
    EXPECT_THAT(line, HasSubstr("error[E_IO]"));
    EXPECT_THAT(line, HasSubstr("another halftone process is working there"));
  }
  EXPECT_FALSE(exists("out.work"));  // nothing was begun
  folder.env().make_directories(folder.in("out.work"));
  folder.write("out.work/lock", "4711");  // left by a process that is gone
  run({});
  EXPECT_TRUE(exists("out"));
}

TEST_F(Driver, ForeignFilesInTheWorkFolderAreNotTouched) {
  folder.env().make_directories(folder.in("out.work"));
  folder.write("out.work/thesis.txt", "years of work");
  EXPECT_THAT(refusal({.force = true}), HasSubstr("is not a work folder: it holds \"thesis.txt\""));
  EXPECT_EQ(folder.read("out.work/thesis.txt"), "years of work");
}

}  // namespace
}  // namespace halftone::recipe
