// Exports of Neuronpedia: what is read, what is counted, what is refused; and a fuzzer.
#include "feature/neuronpedia.h"

#include "base/temporary_folder.h"
#include "fuzz/fuzz.h"

#include <cmath>
#include <zlib.h>

#include <gtest/gtest.h>

namespace introspect {
namespace {

std::string line(const std::string& layer, const std::string& index, const std::string& description,
                 const std::string& model = "llama3.1-8b") {
  return fmt::format(
      "{{\"id\": \"x\", \"modelId\": \"{}\", \"layer\": \"{}\", \"index\": {}, \"description\": {}, \"typeName\": "
      "\"oai_token-act-pair\", \"explanationModelName\": \"gpt-4o-mini\", \"embedding\": [0.5, -1]}}\n",
      model, layer, index, description);
}

fs::path write_compressed(const TemporaryFolder& folder, const std::string& name, const std::string& text) {
  const fs::path path = folder / name;
  gzFile file = ::gzopen(path.c_str(), "wb");
  EXPECT_EQ(::gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
  ::gzclose(file);
  return path;
}

const std::string kSource = "19-llamascope-res-131k";

TEST(Neuronpedia, ReadsLinesAndCountsWhatItLeavesOut) {
  const TemporaryFolder folder;
  const std::string text = line(kSource, "7", "\"references to Paris\"") + "\n" +        //
                           line(kSource, "\"3\"", "\" verbs of motion \"") +             //
                           line(kSource, "7", "\"names of \\\"cities\\\" – Städte\"") +  //
                           line(kSource, "7", "\"references to Paris\"") +               //
                           line(kSource, "9", "\"  \"") + line(kSource, "9", "null") +   //
                           line(kSource, "131072", "\"of no latent\"") +                 //
                           line("2-llamascope-res-131k", "5", "\"digits\"");
  for (const fs::path& path : {folder.write("a.jsonl", text), write_compressed(folder, "a.jsonl.gz", text)}) {
    NeuronpediaSettings settings;
    settings.latents = 131072;
    NeuronpediaReport report;
    const std::vector<DescribedFeature> features = import_neuronpedia(path, settings, report);
    ASSERT_EQ(features.size(), 3u);
    EXPECT_EQ(features[0].layer, 2);
    EXPECT_EQ(features[1].latent, 3);
    EXPECT_EQ(features[1].descriptions.at(0).text, "verbs of motion");
    EXPECT_EQ(features[2].layer, 19);
    EXPECT_EQ(features[2].latent, 7);
    ASSERT_EQ(features[2].descriptions.size(), 2u);
    EXPECT_EQ(features[2].descriptions[1].text, "names of \"cities\" – Städte");
    EXPECT_EQ(features[2].descriptions[1].source, "neuronpedia");
    EXPECT_TRUE(std::isnan(features[2].descriptions[1].score));
    EXPECT_TRUE(std::isnan(features[2].descriptions[1].held_out));
    EXPECT_EQ(report.files, 1);
    EXPECT_EQ(report.lines, 8);
    EXPECT_EQ(report.kept, 4);
    EXPECT_EQ(report.duplicates, 1);
    EXPECT_EQ(report.empty, 2);
    EXPECT_EQ(report.outside, 1);
    EXPECT_EQ(report.explanation_models.at("gpt-4o-mini"), 4);
  }
}

TEST(Neuronpedia, AFolderInTheOrderOfItsNumbers) {
  const TemporaryFolder folder;
  write_compressed(folder, "batch-10.jsonl.gz", line(kSource, "1", "\"third\""));
  write_compressed(folder, "batch-2.jsonl.gz", line(kSource, "1", "\"second\""));
  folder.write("batch-1.jsonl", line(kSource, "1", "\"first\""));
  folder.write("README.md", "not read");
  NeuronpediaReport report;
  const std::vector<DescribedFeature> features = import_neuronpedia(folder.path(), {}, report);
  ASSERT_EQ(features.size(), 1u);
  EXPECT_EQ(features[0].descriptions.at(0).text, "first");
  EXPECT_EQ(features[0].descriptions.at(1).text, "second");
  EXPECT_EQ(features[0].descriptions.at(2).text, "third");
  EXPECT_EQ(report.files, 3);
}

TEST(Neuronpedia, TheListOfTheRetiredExport) {
  const TemporaryFolder folder;
  const fs::path path = folder.write(
      "export.json", R"([{"modelId": "gpt2-small", "layer": "6-res-jb", "index": "10", "description": "commas"}])");
  NeuronpediaReport report;
  EXPECT_EQ(import_neuronpedia(path, {}, report).at(0).layer, 6);
  EXPECT_EQ(report.explanation_models.at(""), 1);
}

TEST(Neuronpedia, ModelsAndSourcesAreKeptApart) {
  const TemporaryFolder folder;
  const fs::path path =
      folder.write("a.jsonl", line(kSource, "1", "\"a\"") + line(kSource, "2", "\"b\"", "gpt2-small") +
                                  line("19-llamascope-res-32k", "1", "\"c\""));
  NeuronpediaReport report;
  NeuronpediaSettings settings;
  EXPECT_TRUE(holds(error_of([&] { import_neuronpedia(path, settings, report); }), "a.jsonl:2"));
  settings.model_id = "llama3.1-8b";
  const std::string error = error_of([&] { import_neuronpedia(path, settings, report); });
  EXPECT_TRUE(holds(error, "19-llamascope-res-32k"));
  EXPECT_TRUE(holds(error, "a.jsonl:3"));
  settings.source = kSource;
  EXPECT_EQ(import_neuronpedia(path, settings, report).size(), 1u);
  EXPECT_EQ(report.other_models, 2);
  settings.model_id = "no such model";
  EXPECT_TRUE(import_neuronpedia(path, settings, report).empty());
  EXPECT_EQ(report.other_models, 3);
}

TEST(Neuronpedia, BrokenFiles) {
  const TemporaryFolder folder;
  NeuronpediaReport report;
  const auto error_for = [&](const std::string& text) {
    const fs::path path = folder.write("broken.jsonl", line(kSource, "1", "\"a\"") + text);
    return error_of([&] { import_neuronpedia(path, {}, report); });
  };
  for (const std::string& text :
       {std::string("{\"layer\": "), std::string("[]\n"), std::string("7\n"), line("resid-19", "1", "\"a\""),
        line("", "1", "\"a\""), line("-1-res", "1", "\"a\""), line("99999999999999999999-res", "1", "\"a\""),
        line(kSource, "-1", "\"a\""), line(kSource, "1.5", "\"a\""), line(kSource, "\"x\"", "\"a\""),
        line(kSource, "1", "{}"), std::string("{\"modelId\": \"llama3.1-8b\", \"index\": 1}\n")}) {
    EXPECT_TRUE(holds(error_for(text), "broken.jsonl:2")) << text;
  }
  EXPECT_TRUE(holds(error_of([&] { import_neuronpedia(folder / "none.jsonl", {}, report); }), "no such file"));
  const fs::path list = folder.write("a.json", "{}");
  EXPECT_TRUE(holds(error_of([&] { import_neuronpedia(list, {}, report); }), "expected a list"));
  fs::create_directory(folder / "empty");
  EXPECT_TRUE(holds(error_of([&] { import_neuronpedia(folder / "empty", {}, report); }), "no .jsonl"));
}

TEST(Neuronpedia, CutAndDamagedCompressedFiles) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 300; ++i) text += line(kSource, fmt::to_string(i), fmt::format("\"number {}\"", i * 7919));
  const std::string bytes = read_text(write_compressed(folder, "whole.jsonl.gz", text));
  NeuronpediaReport report;
  for (size_t cut = 20; cut < bytes.size(); cut += 97) {
    const fs::path path = folder.write("cut.jsonl.gz", bytes.substr(0, cut));
    EXPECT_TRUE(holds(error_of([&] { import_neuronpedia(path, {}, report); }), "cut.jsonl.gz")) << cut;
  }
  std::string damaged = bytes;
  damaged[bytes.size() / 2] = static_cast<char>(damaged[bytes.size() / 2] ^ 0x55);
  const fs::path path = folder.write("damaged.jsonl.gz", damaged);
  EXPECT_TRUE(holds(error_of([&] { import_neuronpedia(path, {}, report); }), "damaged.jsonl.gz"));
}

TEST(Neuronpedia, AnEndlessLine) {
  const TemporaryFolder folder;
  const fs::path path = write_compressed(folder, "bomb.jsonl.gz", std::string(40 << 20, ' '));
  NeuronpediaReport report;
  EXPECT_TRUE(holds(error_of([&] { import_neuronpedia(path, {}, report); }), "a line of more than 16 MiB"));
}

TEST(Neuronpedia, Fuzz) {
  const TemporaryFolder folder;
  const std::vector<std::string> seeds = {line(kSource, "7", "\"Paris\"") + line(kSource, "\"8\"", "\"Rome\""),
                                          line("3-res", "7", "null") + line("3-res", "7", "\"ü\"")};
  const auto read = [&](std::string_view text) {
    const fs::path path = folder.write("fuzz.jsonl", text);
    NeuronpediaReport report;
    NeuronpediaSettings settings;
    settings.latents = 100;
    const std::vector<DescribedFeature> features = import_neuronpedia(path, settings, report);
    int64_t kept = 0;
    for (const DescribedFeature& feature : features) {
      if (feature.layer < 0 || feature.latent < 0 || feature.latent >= 100) throw std::logic_error("outside");
      for (const Description& each : feature.descriptions) {
        if (each.text.empty()) throw std::logic_error("an empty description");
        ++kept;
      }
    }
    if (kept != report.kept || report.lines != kept + report.empty + report.duplicates + report.outside) {
      throw std::logic_error("lines that are counted nowhere");
    }
  };
  const FuzzResult result = run_fuzzer("neuronpedia", seeds, std::min(fuzz_seconds(), 3600.0) / 5, read);
  EXPECT_EQ(result.failure, "") << "after " << result.runs << " runs";
  EXPECT_GE(result.accepted, 2);
}

}  // namespace
}  // namespace introspect
