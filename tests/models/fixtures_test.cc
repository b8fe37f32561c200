// One small Llama in many kinds of file, against logits computed by tools/fixtures/models.py.
#include <gtest/gtest.h>

#include "io/lacuna_directory.h"
#include "io/model.h"
#include "io/npy.h"
#include "io/testing.h"
#include "runtime/session.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
const fs::path kFixtures = LACUNA_SOURCE_DIR "/tests/fixtures/models";

double error_of(const fs::path& model, const fs::path& wanted, const std::string& expected = "expected") {
  Session session(load_model(model).graph, {.executor = Executor::kReference});
  Tensor ids = read_npy(kFixtures / wanted / "input_ids.npy");
  return relative_error(session.run({{"input_ids", ids}}).at("logits"), read_npy(kFixtures / wanted / (expected + ".npy")));
}

TEST(Import, EveryKindOfFileGivesTheSameLogits) {
  EXPECT_LT(error_of(kFixtures / "llama", "llama"), 1e-5);
  EXPECT_LT(error_of(kFixtures / "llama.gguf", "llama"), 1e-5);
  EXPECT_LT(error_of(kFixtures / "sparse-bitmask", "sparse-bitmask"), 1e-5);
  EXPECT_LT(error_of(kFixtures / "sparse-24-bitmask", "sparse-24-bitmask"), 1e-5);
}

TEST(Import, EveryEncodingOfGgufGivesTheLogitsOfItsOwnPackage) {
  for (const char* encoding : {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "bf16", "f32"})
    EXPECT_LT(error_of(kFixtures / (std::string("llama-") + encoding + ".gguf"), "llama", std::string("expected_") + encoding), 1e-5) << encoding;
}

TEST(Import, APrunedWeightIsSmallerThanTheEncodingItCameIn) {
  TemporaryDirectory dir;
  for (const char* encoding : {"q8_0", "q4_0", "q4_1", "bf16", "f32"}) {
    Model model = load_model(kFixtures / (std::string("llama-") + encoding + ".gguf"));
    LacunaWriter writer(dir / encoding, *model.graph, model.source_kind);
    for (WeightId id = 0; id < model.graph->weights.size(); id++) {
      const Weight& w = model.graph->weights[id];
      if (w.layout == MatrixLayout::kNone) continue;
      WeightData data = w.load();
      MatrixView view(w.layout, w.shape);
      data.mask = Mask(view.rows, view.cols, true);
      for (int64_t r = 0; r < view.rows; r++)
        for (int64_t c = r % 2; c < view.cols; c += 2) data.mask->set(r, c, false);
      EXPECT_LT(writer.add_weight(id, data, "unstructured").bytes, w.source->stored_bytes()) << encoding << " " << w.name;
    }
    writer.add_rest();
    writer.finish();
  }
}

TEST(Import, WhatIsWrittenGivesTheSameLogits) {
  TemporaryDirectory dir;
  for (const char* name : {"llama", "llama.gguf", "sparse-bitmask", "sparse-24-bitmask"}) {
    const char* wanted = std::string_view(name) == "llama.gguf" ? "llama" : name;
    fs::path saved = dir / (std::string(name) + "-lacuna");
    Model model = load_model(kFixtures / name);
    save_lacuna(model, saved, false);
    EXPECT_LT(error_of(saved, wanted), 1e-5) << name;
    Model again = load_model(saved);
    if (again.source_kind == ModelKind::kHuggingFace) {
      write_huggingface(*again.graph, saved, dir / (std::string(name) + "-hf"));
      EXPECT_LT(error_of(dir / (std::string(name) + "-hf"), wanted), 1e-5) << name;
    } else {
      for (auto [encoding, expected] : {std::pair("f16", "expected"), {"q8_0", "expected_q8_0"}, {"q4_0", "expected_q4_0"}}) {
        write_gguf(*again.graph, saved, dir / (std::string(encoding) + ".gguf"), encoding);
        EXPECT_LT(error_of(dir / (std::string(encoding) + ".gguf"), wanted, expected), 1e-5) << encoding;
      }
    }
  }
}

}  // namespace
}  // namespace lacuna
