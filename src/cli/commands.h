// One function a group of commands: each registers its subcommands, whose callbacks do the work and print.
#pragma once

#include <CLI/CLI.hpp>

namespace introspect {

void add_tokenize_commands(CLI::App& app);   // tokenize, detokenize, tokenizer train
void add_pretrain_command(CLI::App& app);    // pretrain

}  // namespace introspect
