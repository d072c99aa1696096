// The lean program. Commands that need torch replace it by the worker.
#include "halftone/cli/session.h"

int main(int argc, char** argv) { return halftone::cli::main_program(argc, argv, nullptr); }
