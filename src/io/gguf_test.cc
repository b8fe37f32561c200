#include "io/gguf.h"

#include <cstring>

#include "base/rng.h"
#include "io/gguf_blocks.h"
#include "io/lacuna_directory.h"
#include "io/npy.h"
#include "io/testing.h"

namespace lacuna {
namespace {

const std::filesystem::path kFixtures = LACUNA_SOURCE_DIR "/tests/fixtures/models";

Bytes owned(const std::string& text) {
  auto memory = allocate(text.size());
  if (!text.empty()) std::memcpy(memory.get(), text.data(), text.size());
  return {memory, memory.get(), text.size()};
}

// blocks.gguf and blocks.npy: random bits in every encoding, and what gguf's Python makes of them (tools/fixtures/models.py).
TEST(Gguf, DecodesEveryBlockAsGgufDoes) {
  auto file = GgufFile::open(kFixtures / "blocks.gguf");
  Tensor expected = read_npy(kFixtures / "blocks.npy");
  int64_t rows = expected.dim(1), cols = expected.dim(2), n = 0;
  for (const char* name : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "BF16", "F16"}) {
    Weight weight = gguf_weight(file, *file->find(name));
    weight.layout = MatrixLayout::kOutIn;
    ASSERT_EQ(weight.shape, (Shape{rows, cols}));
    Tensor decoded = decode_f32(weight, weight.load());
    Tensor wanted = Tensor::of<float>({rows, cols}, expected.data<float>().subspan(size_t(n++ * rows * cols), size_t(rows * cols)));
    EXPECT_LT(relative_error(decoded, wanted), 1e-6) << name << " " << to_string(weight.encoding);
  }
}

TEST(Gguf, RoundsBlocksAndKeepsZerosZero) {
  Rng rng(3);
  float x[32];
  for (int i = 0; i < 32; i++) x[i] = i % 2 ? float(rng.normal()) : 0;
  for (auto [id, encode, step] : {std::tuple(kGgufQ8_0, &encode_q8_0, 1.0 / 127), {kGgufQ4_0, &encode_q4_0, 1.0 / 8}}) {
    const GgufType& type = *gguf_type(id);
    std::byte block[34], codes[32], scale[2];
    encode(x, block);
    type.decode(block, {codes, scale, nullptr});
    uint16_t half;
    std::memcpy(&half, scale, 2);
    float largest = 0;
    for (float v : x) largest = std::max(largest, std::abs(v));
    for (int i = 0; i < 32; i++) {
      int code = id == kGgufQ8_0 ? int8_t(codes[i]) : int8_t(uint8_t(codes[i / 2]) >> (i % 2 * 4) << 4) >> 4;
      if (x[i] == 0)
        EXPECT_EQ(code, 0);
      else
        EXPECT_NEAR(float(code) * f16_to_f32(half), x[i], largest * step * 1.01);
    }
  }
}

TEST(Gguf, GivesTheTokenizerInItsOwnTerms) {
  GgufTokenizer t = gguf_tokenizer(kFixtures / "llama.gguf");
  EXPECT_EQ(t.model, "llama");
  EXPECT_EQ(t.tokens.size(), 64u);
  EXPECT_EQ(t.tokens[3], "▁t0");
  EXPECT_EQ(t.scores[5], -5.0f);
  EXPECT_EQ(t.types[1], 3);
  EXPECT_EQ(t.bos, 1);
  EXPECT_EQ(t.unk, 0);
  EXPECT_TRUE(t.add_bos);
}

TEST(Gguf, ALacunaDirectoryKeepsTheTokenizerAndGoesBackToGguf) {
  TemporaryDirectory dir;
  Model model = load_model(kFixtures / "llama.gguf");
  save_lacuna(model, dir / "out", false);
  EXPECT_EQ(gguf_tokenizer(dir / "out").tokens, gguf_tokenizer(kFixtures / "llama.gguf").tokens);
  Model saved = load_model(dir / "out");
  EXPECT_EQ(saved.source_kind, ModelKind::kGguf);
  write_gguf(*saved.graph, dir / "out", dir / "back.gguf", "f16");
  auto before = GgufFile::open(kFixtures / "llama.gguf"), after = GgufFile::open(dir / "back.gguf");
  ASSERT_EQ(after->tensors().size(), before->tensors().size());
  EXPECT_EQ(after->integer("general.file_type"), 1);
  for (auto& tensor : before->tensors()) {
    const GgufTensor* found = after->find(tensor.name);
    ASSERT_TRUE(found) << tensor.name;
    EXPECT_EQ(absolute_error(gguf_weight(after, *found).load().values, gguf_weight(before, tensor).load().values), 0) << tensor.name;
  }
  EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { write_gguf(*saved.graph, dir / "out", dir / "back.gguf", "f16"); }), "exists already"));
  EXPECT_TRUE(
      contains(message_of<InvalidArgument>([&] { write_gguf(*saved.graph, dir / "out", dir / "b.gguf", "q9"); }), "known are f16, q8_0, q4_0"));
}

TEST(Gguf, WithoutAChoiceWeightsKeepTheirBits) {
  TemporaryDirectory dir;
  for (const char* name : {"llama.gguf", "llama-f32.gguf", "llama-bf16.gguf", "llama-q8_0.gguf", "llama-q4_0.gguf", "llama-q4_1.gguf"}) {
    save_lacuna(load_model(kFixtures / name), dir / name / "saved", false);
    write_gguf(*load_model(dir / name / "saved").graph, dir / name / "saved", dir / name / "back.gguf", "");
    auto before = GgufFile::open(kFixtures / name), after = GgufFile::open(dir / name / "back.gguf");
    ASSERT_EQ(after->tensors().size(), before->tensors().size());
    for (auto& tensor : before->tensors()) {
      const GgufTensor* found = after->find(tensor.name);
      ASSERT_TRUE(found) << tensor.name;
      EXPECT_EQ(found->type, tensor.type);
      Bytes a = before->bytes_of(tensor), b = after->bytes_of(*found);
      EXPECT_TRUE(std::equal(a.data, a.data + a.size, b.data, b.data + b.size)) << name << " " << tensor.name;
    }
  }
}

TEST(Gguf, PrunedCodesKeepTheirScalesAndRemovedOnesBecomeZero) {
  TemporaryDirectory dir;
  for (auto [name, type] : {std::pair("llama-q8_0.gguf", 8u), {"llama-q4_0.gguf", 2u}, {"llama-q4_1.gguf", 1u}}) {
    Model model = load_model(kFixtures / name);
    Weight& w = model.graph->weights.edit(model.graph->weights.find("blk.0.ffn_up.weight"));
    WeightData data = w.load();
    data.mask = Mask(64, 32, true);
    for (int64_t r = 0; r < 64; r++)
      for (int64_t c = r % 3; c < 32; c += 3) data.mask->set(r, c, false);
    w.pattern = "unstructured";
    Tensor wanted = decode_f32(w, data);
    w.source = in_memory(data);
    write_gguf(*model.graph, model.path, dir / name, "");
    auto file = GgufFile::open(dir / name);
    const GgufTensor* found = file->find(w.name);
    EXPECT_EQ(found->type, type);
    Weight back = gguf_weight(file, *found);
    back.layout = MatrixLayout::kOutIn;
    double error = absolute_error(decode_f32(back, back.load()), wanted);
    if (std::string_view(name) == "llama-q4_1.gguf")
      EXPECT_LT(error, 0.0005);
    else
      EXPECT_EQ(error, 0) << name;
  }
}

TEST(Gguf, NamesWhatIsWrong) {
  std::string good = get_file(kFixtures / "llama.gguf");
  auto refusal = [](std::string bytes) { return message_of([&] { GgufFile(owned(bytes), "x.gguf"); }); };
  EXPECT_TRUE(contains(refusal("GGUF"), "x.gguf: is not a GGUF file"));
  std::string version = good;
  version[4] = 9;
  EXPECT_TRUE(contains(refusal(version), "version 9"));
  std::string many = good;
  many[15] = 127;
  EXPECT_TRUE(contains(refusal(many), "tensors, the file has"));
  EXPECT_TRUE(contains(refusal(good.substr(0, good.size() - 4096)), "of the data, the file has"));
}

TEST(Gguf, SurvivesFlippedBitsAndTruncation) {
  std::string good = get_file(kFixtures / "llama.gguf").substr(0, 6000);
  Rng rng(4);
  for (int i = 0; i < 3000; i++) {
    std::string bad = good;
    for (int flips = 0; flips < 1 + i % 3; flips++) bad[size_t(rng.below(int64_t(bad.size())))] ^= char(1 << rng.below(8));
    if (i % 4 == 0) bad.resize(size_t(rng.below(int64_t(bad.size()))));
    try {
      GgufFile(owned(bad), "x");
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace lacuna
