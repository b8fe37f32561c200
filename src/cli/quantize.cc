// `quantize`: a recipe of one quantize line from flags.
#include "cli/recipes.h"
#include "lacuna/error.h"

namespace lacuna::cli {

void add_quantize(CLI::App& app) {
  Verb verb(app, "quantize", "Round weights, and activations, to integers; zeros stay zero",
            "lacuna quantize resnet20.onnx -o small/ --weights int8 --activations int8 --dataset cifar10/train.tar.gz");
  struct Options {
    RecipeRun run;
    QuantizeLine line;
  };
  auto o = std::make_shared<Options>();
  CLI::App* c = verb.command;
  add_recipe_run(*c, o->run);
  c->add_option("--weights", o->line.weights,
                "int8: symmetric, one scale per output row\nint4: one scale per group of columns; output heads and convolutions take int8")
      ->capture_default_str();
  auto* group = c->add_option("--group-size", o->line.group_size, "int4: columns per scale, a multiple of 32")->capture_default_str();
  at_least(1, group);
  c->add_flag("--requantize", o->line.requantize, "Round weights again that are coded in as few bits already (default: they stay as they are)");
  c->add_option("--activations", o->line.activations,
                "none: weights only\nint8: inputs of linear layers are rounded too, one scale per token; with --dataset, calibrated scales "
                "(convolutions need them)")
      ->capture_default_str();
  c->add_option("--targets", o->line.targets,
                "What to quantize: names, op types (Linear, Conv2d), re:REGEX (default: every linear and conv, output heads included)");
  c->add_option("--ignore", o->line.ignore, "What to leave alone, same spelling");
  c->add_option("--include", o->line.include, "What to quantize although it is not by default (depthwise convolutions, routers)");
  auto* dataset = c->add_option("--dataset", o->line.dataset, "Calibration images: a folder or archive of CLASS/file.jpg");
  auto* method =
      c->add_option("--method,--observer", o->line.method, "What decides a calibrated scale: minmax, percentile or mse (smallest squared error)")
          ->capture_default_str();
  auto* percentile =
      c->add_option("--percentile", o->line.percentile, "percentile: how much of the magnitudes a scale covers")->capture_default_str();
  auto* samples = c->add_option("--num-calibration-samples,--nsamples", o->line.num_calibration_samples, "Images, spread evenly over the dataset")
                      ->capture_default_str();
  auto* resize = c->add_option("--resize", o->line.resize, "Shorter side of images in pixels before the crop");
  auto* crop = c->add_option("--crop", o->line.crop, "Side of the crop, for a model of any size");
  at_least(1, samples), at_least(1, resize), at_least(1, crop);
  auto* mean = c->add_option("--mean", o->line.mean, "Three channel means (default: ImageNet's)")->expected(3);
  auto* deviation = c->add_option("--std", o->line.deviation, "Three channel deviations (default: ImageNet's)")->expected(3);
  c->callback([=, json = verb.json] {
    auto only_with = [](std::initializer_list<CLI::Option*> options, bool present, const char* what) {
      for (CLI::Option* option : options)
        if (option->count() && !present) throw InvalidArgument(option->get_name() + " has no effect without " + what);
    };
    only_with({group}, o->line.weights == "int4", "--weights int4");
    only_with({dataset}, o->line.activations == "int8", "--activations int8");
    only_with({method, percentile, samples, resize, crop, mean, deviation}, dataset->count() > 0, "--dataset");
    only_with({percentile}, o->line.method == "percentile", "--method percentile");
    run_recipe(o->run, Recipe{{Stage{"quantize", {}, {o->line}}}}, *json);
  });
}

}  // namespace lacuna::cli
