// Every place is captured, and every action changes exactly what it says.
#include "model/taps.h"

#include "base/temporary_folder.h"
#include "tiny_model.h"

namespace introspect {
namespace {

using test::difference;
using test::random_tensor;
using test::rows_of;
using test::tiny_model;

std::vector<Place> all_places(const ModelConfig& config) {
  std::vector<Place> places{{PlaceKind::embed, -1}};
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (PlaceKind kind : {PlaceKind::resid_pre, PlaceKind::attention_out, PlaceKind::resid_mid, PlaceKind::mlp_out,
                           PlaceKind::resid_post}) {
      places.push_back({kind, layer});
    }
  }
  places.push_back({PlaceKind::final_norm, -1});
  return places;
}

class TapsTest : public testing::Test {
 protected:
  // two sequences: rows 0-4 and 5-11
  Model model_ = tiny_model();
  Packed input_ = pack({test::random_tokens(5, 1), test::random_tokens(7, 2)});
  std::vector<Place> places_ = all_places(model_.config);

  at::Tensor run(Taps& taps) const {
    ForwardOptions options;
    options.taps = &taps;
    return forward(model_, input_, options).logits;
  }
  at::Tensor plain() const { return forward(model_, input_).logits; }
  std::vector<at::Tensor> captured_everywhere() const {
    Taps taps;
    for (const Place& place : places_) taps.push_back(Tap::capture(place));
    EXPECT_EQ(difference(run(taps), plain()), 0) << "capturing changes nothing";
    std::vector<at::Tensor> values;
    for (const Tap& tap : taps) values.push_back(tap.captured);
    return values;
  }
  at::Tensor capture(PlaceKind kind, int64_t layer) const {
    Taps taps{Tap::capture({kind, layer})};
    run(taps);
    return taps[0].captured;
  }
};

TEST_F(TapsTest, NamesThereAndBack) {
  for (const Place& place : places_) EXPECT_EQ(parse_place(place_name(place)), place) << place_name(place);
  EXPECT_EQ(place_name({PlaceKind::resid_post, 11}), "blocks.11.hook_resid_post");
  for (const char* wrong : {"", "hook_resid_post", "blocks.hook_resid_post", "blocks.-1.hook_resid_post",
                            "blocks.1x.hook_resid_post", "blocks.1.hook_embed", "blocks.1.hook_q", "blocks.1"}) {
    EXPECT_TRUE(holds(error_of([&] { parse_place(wrong); }), "blocks.{i}.hook_resid_post")) << wrong;
  }
}

TEST_F(TapsTest, PlacesFitTogether) {
  const int64_t layers = model_.config.layers;
  EXPECT_EQ(difference(capture(PlaceKind::resid_pre, 0), capture(PlaceKind::embed, -1)), 0);
  for (int64_t layer = 0; layer < layers; ++layer) {
    const at::Tensor mid = capture(PlaceKind::resid_mid, layer), post = capture(PlaceKind::resid_post, layer);
    EXPECT_EQ(difference(mid, capture(PlaceKind::resid_pre, layer) + capture(PlaceKind::attention_out, layer)), 0);
    EXPECT_EQ(difference(post, mid + capture(PlaceKind::mlp_out, layer)), 0);
    if (layer + 1 < layers) {
      EXPECT_EQ(difference(capture(PlaceKind::resid_pre, layer + 1), post), 0);
    }
    EXPECT_GT(capture(PlaceKind::attention_out, layer).abs().max().item<double>(), 1e-3);
    EXPECT_GT(capture(PlaceKind::mlp_out, layer).abs().max().item<double>(), 1e-3);
  }
  const at::Tensor normalized = capture(PlaceKind::final_norm, -1);
  EXPECT_LT(difference(at::matmul(normalized, model_.head.t()), plain()), 1e-4);
}

TEST_F(TapsTest, EveryActionAtEveryPlace) {
  const std::vector<at::Tensor> before = captured_everywhere();
  const at::Tensor logits = plain(), rows = rows_of({8, 6}), value = random_tensor({2, model_.config.d_model}, 3);
  for (size_t p = 0; p < places_.size(); ++p) {
    const Place& place = places_[p];
    SCOPED_TRACE(place_name(place));
    for (Tap::Action action : {Tap::Action::replace, Tap::Action::add, Tap::Action::scale}) {
      SCOPED_TRACE(static_cast<int>(action));
      Tap change = action == Tap::Action::replace ? Tap::replace(place, rows, value)
                   : action == Tap::Action::add   ? Tap::add(place, rows, value)
                                                  : Tap::scale(place, rows, -0.5);
      Taps taps{Tap::capture(place), change, Tap::capture(place), Tap::capture(place, rows)};
      const at::Tensor changed = run(taps);
      const at::Tensor old_rows = before[p].index_select(0, rows);
      const at::Tensor expected_rows = action == Tap::Action::replace ? value
                                       : action == Tap::Action::add   ? old_rows + value
                                                                      : old_rows * -0.5;
      EXPECT_EQ(difference(taps[0].captured, before[p]), 0) << "a capture in front of the change";
      EXPECT_EQ(difference(taps[3].captured, expected_rows), 0) << "only the rows asked for, in their order";
      EXPECT_EQ(difference(taps[2].captured, before[p].index_copy(0, rows, expected_rows)), 0);
      // rows 0-5 come before or belong to the other sequence; row 7 may see 6, row 6 itself is changed
      EXPECT_EQ(difference(changed.slice(0, 0, 6), logits.slice(0, 0, 6)), 0);
      for (int64_t row : {6, 8}) EXPECT_GT(difference(changed[row], logits[row]), 1e-3) << row;
      const bool spreads = place.layer + 1 < model_.config.layers && place.kind != PlaceKind::final_norm;
      if (spreads) {
        EXPECT_GT(difference(changed[7], logits[7]), 1e-6) << "later positions see it";
      }
      if (place.kind == PlaceKind::final_norm) {
        EXPECT_EQ(difference(changed[7], logits[7]), 0);
      }
    }
  }
}

TEST_F(TapsTest, AllRowsAndOneVectorForMany) {
  const Place place{PlaceKind::resid_mid, 1};
  const at::Tensor vector = random_tensor({model_.config.d_model}, 3);
  const at::Tensor table = random_tensor({input_.size(), model_.config.d_model}, 4);
  const at::Tensor before = capture(PlaceKind::resid_mid, 1);
  const auto after = [&](Tap change) {
    Taps taps{std::move(change), Tap::capture(place)};
    run(taps);
    return taps[1].captured;
  };
  EXPECT_EQ(difference(after(Tap::replace(place, {}, vector)), vector.expand_as(before)), 0);
  EXPECT_EQ(difference(after(Tap::replace(place, {}, table)), table), 0);
  EXPECT_EQ(difference(after(Tap::add(place, {}, vector)), before + vector), 0);
  EXPECT_EQ(difference(after(Tap::scale(place, {}, 3)), before * 3), 0);
  EXPECT_EQ(difference(after(Tap::replace(place, rows_of({0, 3}), vector)),
                       before.index_copy(0, rows_of({0, 3}), vector.expand({2, vector.size(0)}))),
            0);
  // adding twice to one row adds twice
  EXPECT_LT(difference(after(Tap::add(place, rows_of({2, 2}), vector))[2], before[2] + 2 * vector), 1e-5);
}

TEST_F(TapsTest, GradientsReachValues) {
  const at::Tensor value = random_tensor({1, model_.config.d_model}, 3).requires_grad_(true);
  Taps taps{Tap::replace({PlaceKind::embed, -1}, rows_of({1}), value)};
  run(taps).sum().backward();
  ASSERT_TRUE(value.grad().defined());
  EXPECT_GT(value.grad().abs().max().item<double>(), 1e-4);
}

TEST_F(TapsTest, ReplacingIsRunningOnFromThere) {
  const at::Tensor rows = rows_of({2, 9}), value = random_tensor({2, model_.config.d_model}, 3);
  Taps taps{Tap::replace({PlaceKind::resid_post, 0}, rows, value)};
  ForwardOptions from;
  from.first_layer = 1;
  from.residual = capture(PlaceKind::resid_post, 0).index_copy(0, rows, value);
  EXPECT_LT(difference(run(taps), forward(model_, input_, from).logits), 1e-5);
}

TEST_F(TapsTest, AnUnfiredTapIsAnError) {
  Taps beyond{Tap::capture({PlaceKind::resid_post, 3})};
  EXPECT_TRUE(holds(error_of([&] { run(beyond); }), "blocks.3.hook_resid_post"));
  Taps embed{Tap::capture({PlaceKind::embed, -1})};
  run(embed);
  ForwardOptions options;
  options.taps = &embed;  // used before: having fired then does not count
  options.residual = at::zeros({input_.size(), model_.config.d_model});
  EXPECT_TRUE(holds(error_of([&] { forward(model_, input_, options); }), "never fired: hook_embed"));
  Taps last{Tap::capture({PlaceKind::resid_post, 2}), Tap::capture({PlaceKind::final_norm, -1})};
  ForwardOptions stops;
  stops.taps = &last;
  stops.last_layer = 2;
  EXPECT_TRUE(holds(error_of([&] { forward(model_, input_, stops); }), "hook_resid_post, ln_final.hook_normalized"));
}

TEST_F(TapsTest, ValuesThatDoNotFitAreErrors) {
  const Place place{PlaceKind::resid_post, 1};
  const int64_t width = model_.config.d_model;
  const auto message = [&](Tap tap) {
    Taps taps{std::move(tap)};
    return error_of([&] { run(taps); });
  };
  EXPECT_TRUE(holds(message(Tap::capture(place, rows_of({12}))), "position 12 at blocks.1.hook_resid_post"));
  EXPECT_TRUE(holds(message(Tap::capture(place, rows_of({-1}))), "position -1"));
  EXPECT_TRUE(holds(message(Tap::replace(place, rows_of({1, 1}), at::zeros({width}))), "position 1 twice"));
  EXPECT_TRUE(holds(message(Tap::replace(place, rows_of({1}), at::zeros({width + 1}))), "got [49]"));
  EXPECT_TRUE(
      holds(message(Tap::add(place, rows_of({1}), at::zeros({2, width}))), "got [2, 48], expected [48] or [1, 48]"));
  EXPECT_TRUE(holds(message(Tap::replace(place, rows_of({1}), at::Tensor())), "got none"));
  EXPECT_TRUE(holds(message(Tap::capture(place, at::zeros({1}))), "int64"));
}

}  // namespace
}  // namespace introspect
