// One function a group of commands: each registers its subcommands, whose callbacks do the work and print.
#pragma once

#include <CLI/CLI.hpp>

namespace introspect {

void add_tokenize_commands(CLI::App& app);       // tokenize, detokenize, tokenizer train
void add_chat_template_command(CLI::App& app);   // chat-template
void add_pretrain_command(CLI::App& app);        // pretrain
void add_forward_command(CLI::App& app);         // forward
void add_generate_command(CLI::App& app);        // generate
void add_model_commands(CLI::App& app);          // model info, verify, synthesize, plan
void add_facts_command(CLI::App& app);           // facts
void add_ablate_command(CLI::App& app);          // ablate
void add_questions_command(CLI::App& app);       // questions
void add_sae_commands(CLI::App& app);            // sae info, sae train
void add_contexts_command(CLI::App& app);        // contexts, contexts merge, contexts show
void add_describe_commands(CLI::App& app);       // describe library, model, import, score
void add_simulator_commands(CLI::App& app);      // simulator train, simulator score
void add_reconstructor_commands(CLI::App& app);  // reconstructor train, reconstructor score
void add_parquet_command(CLI::App& app);         // parquet
void add_judge_command(CLI::App& app);           // judge
void add_step_commands(CLI::App& app);           // dataset, train, answer
void add_explain_command(CLI::App& app);         // explain
void add_explainer_commands(CLI::App& app);      // explainer import
void add_evaluate_commands(CLI::App& app);       // evaluate, report
void add_project_command(CLI::App& app);         // project
void add_run_commands(CLI::App& app);            // demo, run, recipe
void add_runs_commands(CLI::App& app);           // runs ls, show, compare, page
void add_launch_command(CLI::App& app);          // launch

// Parts of a group that have files of their own.
void add_model_parity(CLI::App& model);
void add_model_synthesize(CLI::App& model);
void add_model_plan(CLI::App& model);
void add_dataset_import(CLI::App& dataset);
void add_sae_train(CLI::App& sae);
void add_describe_model(CLI::App& describe);
void add_describe_import(CLI::App& describe);
void add_describe_score(CLI::App& describe);

}  // namespace introspect
