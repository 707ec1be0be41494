/* SPDX-License-Identifier: Apache-2.0 */
/* cli/bench_crypto.h: `kveil bench crypto`: each algorithm against the fastest library call, in turn, on this machine.
 */
#ifndef KVEIL_CLI_BENCH_CRYPTO_H
#define KVEIL_CLI_BENCH_CRYPTO_H

#include <stdbool.h>

/* Prints a table, or a JSON array, to stdout. Returns an exit code. A few seconds of one core. */
int kveil_bench_crypto(bool json);

#endif
