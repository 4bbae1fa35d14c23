#include "procedure/published_rows.h"

#include "base/error.h"
#include "base/progress.h"
#include "base/random.h"
#include "parquet/parquet.h"

#include <algorithm>
#include <set>

#include <fmt/ranges.h>

namespace introspect {

namespace {

// "train" of data/train-00000-of-00004.parquet and of default/train/0000.parquet.
std::string split_of(const fs::path& file) {
  const std::string name = file.filename().string();
  const std::string stem = name.substr(0, name.find_first_of("-."));
  const bool number = !stem.empty() && stem.find_first_not_of("0123456789") == std::string::npos;
  return number ? fs::absolute(file).parent_path().filename().string() : stem;
}

const std::map<std::string, Split> kSplits = {{"train", Split::train},           {"train_full", Split::train},
                                              {"validation", Split::validation}, {"valid", Split::validation},
                                              {"dev", Split::validation},        {"test", Split::test}};

void collect(const fs::path& path, std::vector<fs::path>& files) {
  if (!fs::exists(path)) fail("import", fmt::format("no such file or folder ({})", path.string()));
  if (!fs::is_directory(path)) {
    files.push_back(path);
    return;
  }
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(path, fs::directory_options::skip_permission_denied)) {
    if (entry.path().extension() == ".parquet") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  if (found.empty()) {
    fail("import", fmt::format("no .parquet file in {}", path.string()),
         "download the data set's files: they lie in its folder 'data'");
  }
  files.insert(files.end(), found.begin(), found.end());
}

// The names of columns, and of the fields of structs behind their column's.
void check_columns(const Parquet& file, const PublishedColumns& columns, std::set<std::string>& unused) {
  const auto top = [](const std::string& name) { return name.substr(0, name.find('.')); };
  std::set<std::string> known;
  for (const auto* names : {&columns.needed, &columns.optional}) {
    for (const std::string& name : *names) known.insert(top(name));
  }
  std::vector<std::string> missing, there;
  for (const std::string& name : columns.needed) {
    if (!file.contains(top(name))) missing.push_back(top(name));
  }
  for (const ParquetColumn& column : file.columns()) {
    there.push_back(column.name);
    if (!known.contains(column.name)) unused.insert(column.name);
  }
  if (!missing.empty()) {
    fail("import",
         fmt::format("columns: {} missing, got {} ({})", fmt::join(missing, ", "), fmt::join(there, ", "),
                     file.path().string()),
         "another data set than --kind says? 'introspect parquet FILE' shows what a file holds");
  }
}

}  // namespace

Json import_settings_to_json(const ImportSettings& s) {
  return {{"full", s.full}, {"validation_share", s.validation_share}, {"seed", s.seed}, {"limit", s.limit}};
}

std::map<std::string, std::vector<fs::path>> published_files(const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) collect(path, files);
  std::map<std::string, std::vector<fs::path>> by_split;
  for (const fs::path& file : files) {
    const std::string split = split_of(file);
    if (!kSplits.contains(split)) {
      fail("import",
           fmt::format("split: got '{}', expected train, train_full, validation or test ({})", split, file.string()),
           "a file is named after its split: train-00000-of-00001.parquet");
    }
    by_split[split].push_back(file);
  }
  return by_split;
}

void for_each_published_row(const std::vector<fs::path>& paths, const PublishedColumns& columns,
                            const ImportSettings& settings, ImportReport& report,
                            const std::function<void(Split, const std::string& id, const Json& row)>& visit) {
  const auto by_split = published_files(paths);
  const std::string passed_over = settings.full && by_split.contains("train_full") ? "train" : "train_full";
  std::set<std::string> unused;
  int64_t total = 0, done = 0;
  std::map<std::string, std::vector<Parquet>> open;
  for (const auto& [split, files] : by_split) {
    int64_t of_split = 0;
    for (const fs::path& path : files) {
      open[split].emplace_back(path);
      of_split += open[split].back().rows();
      check_columns(open[split].back(), columns, unused);
    }
    if (split == passed_over) {
      report.not_asked[split] = of_split;
    } else {
      total += settings.limit > 0 ? std::min(settings.limit, of_split) : of_split;
    }
  }
  report.unused_columns.assign(unused.begin(), unused.end());
  if (total == 0) fail("import", "no rows in the splits that are wanted", "of train_full alone: --full");

  Progress progress("import", total, "rows");
  for (const auto& [split, files] : open) {
    if (split == passed_over) continue;
    int64_t& rows = report.rows[split];
    for (const Parquet& file : files) {
      std::vector<std::string> wanted;
      for (const auto* names : {&columns.needed, &columns.optional}) {
        for (const std::string& name : *names) {
          const std::string column = name.substr(0, name.find('.'));
          const bool listed = std::find(wanted.begin(), wanted.end(), column) != wanted.end();
          if (file.contains(column) && !listed) wanted.push_back(column);
        }
      }
      file.for_each_row(wanted, [&](int64_t, const Json& row) {
        if (settings.limit > 0 && rows >= settings.limit) return false;
        check_interrupt("import");
        visit(kSplits.at(split), fmt::format("{}-{:06}", split, rows), row);
        ++rows;
        progress.set(++done);
        return true;
      });
    }
  }
  progress.finish();
}

std::optional<std::string> published_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  if (value.is_array() && value.size() == 1) return published_text(value[0]);
  return std::nullopt;
}

std::string required_text(const Json& row, const std::string& key, const std::string& id) {
  const auto found = row.find(key);
  const std::optional<std::string> text = found == row.end() ? std::nullopt : published_text(*found);
  if (!text) {
    fail("import", fmt::format("row {}: {}: got {}, expected text", id, key,
                               found == row.end() ? "nothing" : found->dump().substr(0, 80)));
  }
  return *text;
}

void split_published(Dataset& dataset, const ImportSettings& settings, ImportReport& report) {
  std::set<std::string> train, test;
  bool has_validation = false;
  for (const Example& example : dataset.examples) {
    if (example.split == Split::train) train.insert(example.cluster);
    if (example.split == Split::test) test.insert(example.cluster);
    has_validation = has_validation || example.split == Split::validation;
  }
  report.test_prompts = std::ssize(test);
  for (const std::string& cluster : test) report.test_prompts_in_train += train.contains(cluster);
  if (has_validation || settings.validation_share <= 0) return;
  std::vector<std::string> clusters(train.begin(), train.end());
  Random(settings.seed, "validation of published data").shuffle(clusters);
  clusters.resize(static_cast<size_t>(settings.validation_share * static_cast<double>(clusters.size())));
  const std::set<std::string> chosen(clusters.begin(), clusters.end());
  for (Example& example : dataset.examples) {
    if (example.split == Split::train && chosen.contains(example.cluster)) example.split = Split::validation;
  }
}

}  // namespace introspect
