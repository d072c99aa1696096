// Hostile input and hostile surroundings, met through the program: one line on stderr, the
// documented exit code (docs/exit-codes.md), and nothing left behind. What each reader refuses is
// tested beside the reader.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "tests/process.h"

namespace halftone::tests {
namespace {

using testing::HasSubstr;

const std::string kTests = std::string(HALFTONE_SOURCE_DIR) + "/tests/";
const std::string kModel = kTests + "fixtures/models/llama_mha_tied";

// Five tokens: they fit every vocabulary of the tiny models.
constexpr const char* kTokenizer =
    R"({"added_tokens":[],"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"c":3},"merges":[["a","b"]]}})";

class Hostile : public testing::Test {
 protected:
  void copy_model(const std::string& to, const std::string& from = kModel) const {
    env->make_directories(scratch.path(to));
    for (const char* name : {"config.json", "model.safetensors"})
      write(to + "/" + name, read(join_path(from, name)));
  }
  void write(const std::string& name, const std::string& bytes) const {
    const auto file = env->create(scratch.path(name));
    file->write(bytes);
    file->close();
  }
  std::string read(const std::string& path) const { return env->read_text(path, 1 << 30); }
  // Words of a shell that runs halftone with them: for limits, redirections.
  Outcome shell(const std::string& before, std::vector<std::string> words,
                const std::string& after = "") const {
    words.insert(words.begin(),
                 {"bash", "-c", before + " exec \"$@\" " + after, "bash", halftone_path()});
    return run(words);
  }

  std::unique_ptr<Env> env = posix_env();
  Scratch scratch;
};

// One line on stderr, of the documented form, and nothing on stdout.
void expect_refused(const Outcome& outcome, const std::set<int>& exits, const std::string& part,
                    const std::string& what) {
  EXPECT_EQ(outcome.signal, 0) << what;
  EXPECT_TRUE(exits.contains(outcome.exit))
      << what << ": exit " << outcome.exit << ": " << outcome.err;
  EXPECT_TRUE(outcome.err.starts_with("halftone: error[E_")) << what << ": " << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(part)) << what;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1)
      << what << ": " << outcome.err;
  EXPECT_TRUE(std::none_of(outcome.err.begin(), outcome.err.end() - 1, [](char c) {
    return (c >= 0 && c < 0x20) || c == 0x7f;
  })) << what;
  EXPECT_EQ(outcome.out, "") << what;
}

// ---- files

TEST_F(Hostile, EveryFileOfTheCorporaIsAnAnswer) {
  struct Kind {
    std::string corpus, place;  // where in a model's folder such a file lies
  };
  for (const Kind& kind : {Kind{"safetensors", "model.safetensors"}, Kind{"gguf", "m.gguf"},
                           Kind{"pytorch", "pytorch_model.bin"}, Kind{"config", "config.json"}}) {
    const std::string folder = kTests + "corpus/" + kind.corpus;
    int64_t refused = 0, all = 0;
    for (const std::string& name : env->list(folder)) {
      env->remove_tree(scratch.path("m"));
      copy_model("m");
      if (kind.corpus != "config") env->remove(scratch.path("m/model.safetensors"));
      if (kind.corpus == "gguf") env->remove(scratch.path("m/config.json"));
      write("m/" + kind.place, read(join_path(folder, name)));
      Outcome outcome = halftone({"inspect", scratch.path("m")});
      // A remark may come before the verdict.
      if (const auto remark = outcome.err.find(" entries that are no tensors were skipped\n");
          remark != std::string::npos)
        outcome.err.erase(0, outcome.err.find('\n') + 1);
      ++all;
      if (outcome.exit == 0) continue;
      ++refused;
      // 5: a limit, as 300 dimensions; everything else is bad input.
      expect_refused(outcome, {3, 5}, "error[E_", kind.corpus + "/" + name);
    }
    EXPECT_GT(refused, all / 2) << kind.corpus;
  }
}

TEST_F(Hostile, EveryCommandSaysWhatIsWrongWithAModel) {
  copy_model("good");
  write("good/tokenizer.json", kTokenizer);
  env->make_directories(scratch.path("data/wikitext2"));
  write("data/wikitext2/test.txt", " = A = \n abc\n");
  write("text.txt", "abcabcabc");
  env->make_directories(scratch.path("models"));
  write("models/empty.gguf", "");
  write("models/lfs.gguf", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n");
  write("models/page.safetensors", "<!DOCTYPE html><html>");
  write("models/cut.gguf", read(kTests + "fixtures/gguf/llama_f32.gguf").substr(0, 5000));
  write("models/noise", "neither this nor that");
  env->make_directories(scratch.path("models/nothing"));
  copy_model("models/cut");
  const std::string weights = read(kModel + "/model.safetensors");
  write("models/cut/model.safetensors", weights.substr(0, weights.size() - 7));
  copy_model("models/family");
  write("models/family/config.json", R"({"architectures":["XyzForCausalLM"]})");
  copy_model("models/unlike");
  Json config = parse_json(read(kModel + "/config.json"), "config.json");
  config["num_hidden_layers"] = 3;
  write("models/unlike/config.json", config.dump());
  ASSERT_EQ(::mkfifo(scratch.path("models/pipe.gguf").c_str(), 0600), 0);
  ASSERT_EQ(::symlink("/dev/zero", scratch.path("models/zero").c_str()), 0);
  ASSERT_EQ(::symlink("round", scratch.path("models/round").c_str()), 0);
  const std::string good = scratch.path("good"), out = scratch.path("out"),
                    data = scratch.path("data"), text = scratch.path("text.txt");
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"absent", "no such file"},
      {"empty.gguf", "the file is empty"},
      {"lfs.gguf", "Git LFS pointer"},
      {"page.safetensors", ""},
      {"cut.gguf", "5000"},
      {"noise", "neither safetensors, GGUF nor"},
      {"nothing", "holds no weights"},
      {"cut", "download incomplete"},
      {"family", "XyzForCausalLM"},
      {"unlike", "model.layers.2."},
      {"pipe.gguf", "not a regular file"},
      {"zero", "not a regular file"},
      {"round", ""}};
  const auto before = env->list(scratch.path());
  for (const auto& [name, part] : bad) {
    const std::string model = scratch.path("models/" + name);
    // A loop of links is the system's error, the rest is bad input.
    const std::set<int> exits = name == "round" ? std::set<int>{4} : std::set<int>{3};
    for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
             {"inspect", model},
             {"run", model, "-p", "a"},
             {"chat", model},
             {"bench", model},
             {"eval", model, "--tasks", "wikitext2", "--data", data},
             {"compare", model, good, "--text", text},
             {"compare", good, model, "--text", text},
             {"quantize", model, "--recipe", "rtn_int4_g32", "-o", out},
             {"quantize", model, "--recipe", "rtn_int4_g32", "-o", out, "--plan"}})
      expect_refused(halftone(words), exits, part, words[0] + " " + name);
  }
  EXPECT_EQ(env->list(scratch.path()), before);
}

TEST_F(Hostile, NamesOutOfFilesCannotPlayWithTheTerminal) {
  copy_model("m");
  env->remove(scratch.path("m/model.safetensors"));
  write("m/model.safetensors.index.json",
        "{\"weight_map\":{\"model.norm.weight\":\"a\\u001b[2J\\r.safetensors\"}}");
  expect_refused(halftone({"inspect", scratch.path("m")}), {3}, "a\\x1b[2J\\x0d.safetensors",
                 "shard");
  expect_refused(halftone({"inspect", "two\nlines\x1b[31m"}), {3}, "two lines\\x1b[31m",
                 "argument");
  const std::string header =
      R"({"a\u001b]0;title\u0007":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  const uint64_t size = header.size();
  env->remove(scratch.path("m/model.safetensors.index.json"));
  std::string bytes(8, '\0');
  std::copy_n(reinterpret_cast<const char*>(&size), 8, bytes.begin());
  write("m/model.safetensors", bytes + header + "x");
  expect_refused(halftone({"inspect", scratch.path("m")}), {3}, "is missing", "tensor");
}

TEST_F(Hostile, TokenizersAndTemplates) {
  copy_model("m");
  const std::string model = scratch.path("m");
  const auto refused = [&](const std::string& part) {
    expect_refused(halftone({"run", model, "-p", "ab", "-n", "2", "--quiet"}), {3}, part, part);
  };
  refused("has no tokenizer");
  write("m/tokenizer.json", "{");
  refused("tokenizer.json: not valid JSON");
  Json tokenizer = Json::parse(kTokenizer);
  tokenizer["model"]["vocab"]["d"] = 4'000'000;
  write("m/tokenizer.json", tokenizer.dump());
  refused("tokenizer.json: id 4000000");
  Json many = Json::parse(kTokenizer);
  for (int i = 4; i < 500; ++i) many["model"]["vocab"]["t" + std::to_string(i)] = i;
  write("m/tokenizer.json", many.dump());
  refused("the tokenizer has ids up to 499");
  write("m/tokenizer.json", kTokenizer);
  EXPECT_EQ(halftone({"run", model, "-p", "ab", "-n", "2", "--quiet"}).exit, 0);
  write("m/chat_template.jinja",
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}");
  expect_refused(halftone({"run", model, "-p", "ab", "-n", "2", "--quiet"}), {5},
                 "the chat template needs more than", "endless template");
  write("m/chat_template.jinja", "{{ raise_exception('not so') }}");
  expect_refused(halftone({"run", model, "-p", "ab", "-n", "2", "--quiet"}), {2},
                 "the chat template refuses this conversation: \"not so\"", "refusal");
  EXPECT_EQ(halftone({"run", model, "-p", "ab", "-n", "2", "--quiet", "--no-template"}).exit, 0);
}

TEST_F(Hostile, TextAndRecipes) {
  copy_model("m");
  write("m/tokenizer.json", kTokenizer);
  const std::string model = scratch.path("m");
  const auto text = [&](const std::string& name, const std::string& bytes, const std::string& part,
                        int exit = 3) {
    write(name, bytes);
    expect_refused(
        halftone({"compare", model, model, "--text", scratch.path(name), "--no-speed", "--quiet"}),
        {exit}, part, name);
  };
  expect_refused(halftone({"compare", model, model, "--text", scratch.path("absent.txt")}), {3},
                 "no such file", "absent text");
  text("empty.txt", "", "holds no text");
  text("lfs.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
       "Git LFS pointer");
  text("latin.txt", "caf\xe9", "not valid UTF-8");
  text("cut.jsonl", "{\"text\":\"abc\"}\n{\"text\":\"ab", ":2: not valid JSON");
  text("types.jsonl", "{\"text\":7}", ":1: field \"text\" is not text");
  text("none.jsonl", "\n\n", "holds no text");
  text("cut.parquet", "PAR1....PAR1", "not a usable parquet file");
  text("page.parquet", "<html>", "is a web page");
  text("one.txt", "a", "shorter than one window", 2);
  env->make_directories(scratch.path("data/wikitext2"));
  write("data/wikitext2/test.txt", "");
  expect_refused(halftone({"eval", model, "--tasks", "wikitext2", "--data", scratch.path("data")}),
                 {3}, "holds no text", "empty set");
  expect_refused(halftone({"eval", model, "--tasks", "ptb", "--data", scratch.path("data")}), {3},
                 "is not on this machine", "absent set");

  const auto recipe = [&](const std::string& bytes, const std::string& part, int exit = 2) {
    write("r.yaml", bytes);
    expect_refused(halftone({"quantize", model, "--recipe", scratch.path("r.yaml"), "-o",
                             scratch.path("out")}),
                   {exit}, part, bytes.substr(0, 40));
  };
  expect_refused(halftone({"quantize", model, "--recipe", scratch.path("absent.yaml"), "-o",
                           scratch.path("out")}),
                 {3}, "no such file", "absent recipe");
  recipe("rounder: [", "not valid YAML");
  recipe("roundr: nearest", "did you mean rounder?");
  recipe("format: int4_g64\nlayout: gptq", "use group",
         3);  // 64 on K = 32: what the layout cannot hold
  recipe("a: &a [*a]", "r.yaml: line 1");
  EXPECT_FALSE(env->stat(scratch.path("out")));
  EXPECT_FALSE(env->stat(scratch.path("out.work")));
}

TEST_F(Hostile, HugeClaimsCostNothing) {
  copy_model("m");
  write("m/tokenizer.json", kTokenizer);
  Json config = parse_json(read(kModel + "/config.json"), "config.json");
  config["max_position_embeddings"] = int64_t{1} << 40;
  config["auto_map"] = {{"AutoModel", "evil--model.Evil"}};  // never run, never fetched
  write("m/config.json", config.dump());
  write("m/modeling_evil.py", "raise SystemExit(66)");
  const std::string model = scratch.path("m");
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"inspect", model},
           {"run", model, "-p", "ab", "-n", "4", "--quiet"},
           {"chat", model, "--quiet"},
           {"bench", model, "--prefill", "8", "--decode", "4", "--quiet"}}) {
    // 1 GiB of address space is not enough for anything made in that size; a sanitizer needs
    // terabytes for itself.
    const Outcome outcome = shell(*HALFTONE_SANITIZED == '\0' ? "ulimit -v 1048576;" : "", words);
    if (words[0] == "chat")
      expect_refused(outcome, {3}, "has no chat template", "chat");
    else
      EXPECT_EQ(outcome.exit, 0) << words[0] << ": " << outcome.err;
  }
}

// ---- places to write

TEST_F(Hostile, OutputsThatCannotBe) {
  copy_model("m");
  write("file", "x");
  write("m.gguf", read(kTests + "fixtures/gguf/llama_f32.gguf"));
  ASSERT_EQ(::symlink("m", scratch.path("link").c_str()), 0);
  const std::string model = scratch.path("m");
  const auto before = env->list(scratch.path()), inside = env->list(model);
  const auto refused = [&](const std::string& from, const std::string& to, int exit,
                           const std::string& part, std::vector<std::string> more = {}) {
    std::vector<std::string> words = {"quantize", from, "--recipe", "rtn_int4_g32", "-o", to};
    words.insert(words.end(), more.begin(), more.end());
    expect_refused(halftone(words), {exit}, part, to);
    EXPECT_EQ(env->list(scratch.path()), before) << to;
    EXPECT_EQ(env->list(model), inside) << to;
  };
  for (const std::string& same :
       {model, model + "/", model + "/.", scratch.path("link"), scratch.path("x/../m")})
    refused(
        model, same, 2,
        same.find("..") != std::string::npos ? "leads through" : "the output is the input model",
        {"--force"});
  refused(scratch.path("link"), model, 2, "the output is the input model", {"--force"});
  refused(scratch.path("m.gguf"), scratch.path("m.gguf"), 2, "", {"--force"});
  refused(model, scratch.path(), 2, "the output folder holds the input model", {"--force"});
  refused(model, scratch.path("file"), 2, "exists and is not a folder");
  refused(model, scratch.path("file/out"), 4, "");
  refused(model, "/proc/halftone/out", 4, "");
  refused(model, "", 2, "");
  EXPECT_EQ(read(scratch.path("file")), "x");
}

TEST_F(Hostile, AFolderWithoutPermission) {
  copy_model("m");
  env->make_directories(scratch.path("closed"));
  ASSERT_EQ(::chmod(scratch.path("closed").c_str(), 0555), 0);
  ASSERT_EQ(::chmod(scratch.path().c_str(), 0755), 0);
  std::vector<std::string> words = {
      halftone_path(), "quantize", scratch.path("m"),         "--recipe",
      "rtn_int4_g32",  "-o",       scratch.path("closed/out")};
  if (::geteuid() ==
      0) {  // root may write anywhere: somebody else tries, who may not see the build
    words[0] = scratch.path("halftone");
    ASSERT_EQ(run({"cp", halftone_path(), words[0]}).exit, 0);
    const std::vector<std::string> other = {"setpriv", "--reuid=65534", "--regid=65534",
                                            "--clear-groups"};
    words.insert(words.begin(), other.begin(), other.end());
  }
  expect_refused(run(words), {4}, "Permission denied; give an -o in a folder that you may write in",
                 "closed");
  EXPECT_TRUE(env->list(scratch.path("closed")).empty());
}

// The system's limit on the size of a file stands for a full disk: a short write, then an error,
// wherever the output has got to.
TEST_F(Hostile, ADiskThatIsFullAfterSomeBytes) {
  copy_model("m");
  const std::vector<std::string> words = {"quantize", scratch.path("m"),   "--recipe", "rtn_int8",
                                          "-o",       scratch.path("out"), "--quiet",  "--threads",
                                          "1",        "--no-measure"};
  ASSERT_EQ(halftone(words).exit, 0);
  const std::string whole = folder_hash(scratch.path("out"));
  env->remove_tree(scratch.path("out"));
  int64_t stopped = 0;
  for (const int kib : {1, 4, 8, 16, 32, 64}) {
    const Outcome outcome = shell("ulimit -f " + std::to_string(kib) + ";", words);
    if (outcome.exit == 0) {
      env->remove_tree(scratch.path("out"));
      continue;
    }
    ++stopped;
    expect_refused(outcome, {4}, "write: File too large", std::to_string(kib) + " KiB");
    EXPECT_FALSE(env->stat(scratch.path("out"))) << kib;
    std::vector<std::string> resume = words;
    resume.push_back("--resume");
    const Outcome resumed = halftone(resume);
    EXPECT_EQ(resumed.exit, 0) << resumed.err;
    EXPECT_EQ(folder_hash(scratch.path("out")), whole) << kib;
    EXPECT_FALSE(env->stat(scratch.path("out.work"))) << kib;
    env->remove_tree(scratch.path("out"));
  }
  EXPECT_GE(stopped, 3);
}

TEST_F(Hostile, AFullDiskAtAnyWrite) {
  if (*HALFTONE_SANITIZED != '\0') GTEST_SKIP() << "UBSan asks by write() whether memory is there";
  if (run({"strace", "-o", "/dev/null", "true"}).exit != 0)
    GTEST_SKIP() << "strace cannot trace here";
  copy_model("m");
  const std::vector<std::string> words = {
      halftone_path(),     "quantize", scratch.path("m"), "--recipe", "rtn_int8",    "-o",
      scratch.path("out"), "--quiet",  "--threads",       "1",        "--no-measure"};
  ASSERT_EQ(run(words).exit, 0);
  const std::string whole = folder_hash(scratch.path("out"));
  env->remove_tree(scratch.path("out"));
  int64_t stopped = 0;
  for (int n = 1; n < 200; n += n < 6 ? 1 : 4) {
    std::vector<std::string> traced = {
        "strace",      "-f",        "-qq",
        "-o",          "/dev/null", "-e",
        "trace=write", "-e",        "inject=write:error=ENOSPC:when=" + std::to_string(n)};
    traced.insert(traced.end(), words.begin(), words.end());
    const Outcome outcome = run(traced);
    if (outcome.exit == 0 || env->stat(scratch.path("out")))
      break;  // the output was whole: what failed was the word about it
    ++stopped;
    expect_refused(outcome, {4}, "free some space", std::to_string(n));
    std::vector<std::string> resume = words;
    resume.push_back("--resume");
    const Outcome resumed = run(resume);
    EXPECT_EQ(resumed.exit, 0) << resumed.err;
    EXPECT_EQ(folder_hash(scratch.path("out")), whole) << n;
    env->remove_tree(scratch.path("out"));
  }
  EXPECT_GE(stopped, 5);
}

TEST_F(Hostile, AReportThatCannotBeWrittenIsFoundBeforeTheModels) {
  copy_model("m");
  write("m/tokenizer.json", kTokenizer);
  write("text.txt", std::string(300, 'a'));
  copy_model("cut");  // what loading would say
  write("cut/model.safetensors", "");
  env->make_directories(scratch.path("folder"));
  env->make_directories(scratch.path("data/wikitext2"));
  write("data/wikitext2/test.txt", std::string(300, 'a') + "\n");
  const std::string model = scratch.path("m"), cut = scratch.path("cut"),
                    text = scratch.path("text.txt"), data = scratch.path("data");
  const auto compare = [&](const std::string& of, const std::string& to) {
    return halftone({"compare", of, of, "--text", text, "--window", "32", "--no-speed", "--quiet",
                     "--report", to});
  };
  const auto eval = [&](const std::string& of, const std::string& to) {
    return halftone({"eval", of, "--tasks", "wikitext2", "--data", data, "--window", "32",
                     "--quiet", "--log-samples", to});
  };
  const auto before = env->list(scratch.path());
  for (const auto& [to, exit, part] : std::vector<std::tuple<std::string, int, std::string>>{
           {scratch.path("absent/x"), 4, "No such file or directory; give "},
           {scratch.path("text.txt/x"), 4, "Not a directory; give "},
           {"/proc/halftone.html", 4, ""},
           {scratch.path("folder"), 2, "is a folder"},
           {scratch.path("new/"), 2, "is a folder"},
           {scratch.path("cut/model.safetensors"), 2, "is a file of the model"},
           {scratch.path("cut/config.json"), 2, "is a file of the model"}}) {
    expect_refused(compare(cut, to), {exit}, part, "compare " + to);
    expect_refused(eval(cut, to), {exit}, part, "eval " + to);
    EXPECT_EQ(env->list(scratch.path()), before) << to;
  }
  // A command that fails later leaves neither the file nor a beginning of it, and keeps an older
  // one.
  expect_refused(compare(cut, scratch.path("page.html")), {3}, "model.safetensors", "compare");
  expect_refused(eval(cut, scratch.path("lines.jsonl")), {3}, "model.safetensors", "eval");
  EXPECT_EQ(env->list(scratch.path()), before);
  write("page.html", "older");
  expect_refused(compare(cut, scratch.path("page.html")), {3}, "model.safetensors", "compare");
  EXPECT_EQ(read(scratch.path("page.html")), "older");

  EXPECT_EQ(compare(model, scratch.path("page.html")).exit, 0);
  EXPECT_THAT(read(scratch.path("page.html")), HasSubstr("</html>"));
  EXPECT_EQ(eval(model, scratch.path("lines.jsonl")).exit, 0);
  EXPECT_EQ(
      parse_json(
          read(scratch.path("lines.jsonl")).substr(0, read(scratch.path("lines.jsonl")).find('\n')),
          "line")["task"],
      "wikitext2");
  // A device stays what it is.
  ASSERT_EQ(::symlink("/dev/null", scratch.path("null").c_str()), 0);
  EXPECT_EQ(compare(model, scratch.path("null")).exit, 0);
  EXPECT_EQ(eval(model, scratch.path("null")).exit, 0);
  struct stat null {};
  ASSERT_EQ(::lstat(scratch.path("null").c_str(), &null), 0);
  EXPECT_TRUE(S_ISLNK(null.st_mode));
  for (const std::string& name : env->list(scratch.path()))
    EXPECT_FALSE(name.ends_with(".tmp")) << name;
}

TEST_F(Hostile, AResultThatIsNotDelivered) {
  copy_model("m");
  const std::string model = scratch.path("m");
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"inspect", model}, {"inspect", model, "--json", "--tensors"}, {"recipes"}})
    expect_refused(shell("", words, "> /dev/full"), {4}, "stdout: write: No space left on device",
                   words[0]);
  EXPECT_EQ(shell("", {"inspect", model}, "2> /dev/full").exit, 0);
  // Closed streams: no file of ours may take their numbers and receive what is meant for them.
  EXPECT_EQ(
      shell("",
            {"quantize", model, "--recipe", "rtn_int8", "-o", scratch.path("a"), "--no-measure"},
            "<&- >&- 2>&-")
          .exit,
      0);
  EXPECT_EQ(
      halftone({"quantize", model, "--recipe", "rtn_int8", "-o", scratch.path("b"), "--no-measure"})
          .exit,
      0);
  EXPECT_EQ(folder_hash(scratch.path("a")), folder_hash(scratch.path("b")));
}

}  // namespace
}  // namespace halftone::tests
