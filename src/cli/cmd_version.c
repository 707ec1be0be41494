/* SPDX-License-Identifier: Apache-2.0 */
/* kveil version: what this program is made of, and which algorithms its libraries have on this machine. */
#include "base/grapheme.h"
#include "base/http_request.h"
#include "base/yaml.h"
#include "cli/command.h"
#include "crypto/algorithm.h"
#include "crypto/crypto.h"
#include "crypto/gcrypt.h"
#include "crypto/statement.h"
#include "http/http.h"
#include "kafka/kafka.h"
#include "kafka/versions.h"
#include "rules/plan.h"

#include <jansson.h>
#include <stdio.h>

extern const struct kveil_command kveil_command_version;

struct library {
	const char *name, *version;
};

static const char *library_of(const struct kveil_algorithm *alg)
{
	const char *library = alg->library();
	return library ? library : "missing";
}

static const char *yes(bool is_so)
{
	return is_so ? "yes" : "no";
}

static void print_text(const struct library *libraries)
{
	printf("kveil %s\n\nlibraries\n", KVEIL_VERSION);
	for (const struct library *l = libraries; l->name; l++)
		printf("  %-22s %s\n", l->name, l->version);
	printf("\nby librdkafka's version\n");
	for (const struct kveil_kafka_trait *t = kveil_kafka_traits; t->what; t++)
		printf("  %-36s %s%s%s\n", t->what, yes(kveil_kafka_has(t)), kveil_kafka_has(t) ? "" : ": ",
		       kveil_kafka_has(t) ? "" : t->otherwise);
	printf("\nalgorithms\n");
	for (size_t i = 0; kveil_algorithms[i]; i++)
		printf("  %-22s %-11s  %s\n", kveil_algorithms[i]->name,
		       kveil_algorithms[i]->library() ? "available" : "missing", kveil_algorithms[i]->standard);
}

/* For auditors: docs/algorithms.md says what follows from it. */
static void print_statement(void)
{
	printf("algorithms\n");
	for (size_t i = 0; kveil_algorithms[i]; i++)
		printf("  %-18s %-22s %s\n", kveil_algorithms[i]->name, kveil_algorithms[i]->standard,
		       library_of(kveil_algorithms[i]));
	printf("\nkveil's own use, whatever the keys are\n");
	for (const struct kveil_statement_use *u = kveil_statement_uses; u->what; u++)
		printf("  %-44s %-20s %-26s %s\n", u->what, u->algorithm, u->standard, u->library);
	printf("\nrandomness\n  %s of OpenSSL (NIST SP 800-90A), seeded by the operating system\n",
	       kveil_statement_generator());
	printf(
	    "\nmodes\n  OpenSSL's FIPS provider is the default    %s\n  libgcrypt is in FIPS mode                 %s\n",
	    yes(kveil_statement_openssl_fips()), yes(kveil_gcrypt_fips()));
	printf("\nkveil itself is not certified; OpenSSL %s, libgcrypt %s\n", kveil_crypto_openssl_version(),
	       kveil_gcrypt_version());
}

static json_t *statement(void)
{
	json_t *uses = json_array();

	for (const struct kveil_statement_use *u = kveil_statement_uses; u->what; u++)
		json_array_append_new(uses, json_pack("{s:s, s:s, s:s, s:s}", "what", u->what, "algorithm",
						      u->algorithm, "standard", u->standard, "library", u->library));
	return json_pack("{s:o, s:s, s:b, s:b}", "own_use", uses, "generator", kveil_statement_generator(),
			 "openssl_fips", (int)kveil_statement_openssl_fips(), "libgcrypt_fips",
			 (int)kveil_gcrypt_fips());
}

static int print_json(const struct library *libraries)
{
	json_t *root = json_object(), *libs = json_object(), *algorithms = json_array(), *traits = json_array();

	json_object_set_new(root, "version", json_string(KVEIL_VERSION));
	for (const struct library *l = libraries; l->name; l++)
		json_object_set_new(libs, l->name, json_string(l->version));
	for (size_t i = 0; kveil_algorithms[i]; i++)
		json_array_append_new(algorithms, json_pack("{s:s, s:s, s:s, s:b}", "name", kveil_algorithms[i]->name,
							    "standard", kveil_algorithms[i]->standard, "library",
							    library_of(kveil_algorithms[i]), "available",
							    (int)!!kveil_algorithms[i]->library()));
	for (const struct kveil_kafka_trait *t = kveil_kafka_traits; t->what; t++)
		json_array_append_new(traits, json_pack("{s:s, s:b, s:s}", "what", t->what, "has",
							(int)kveil_kafka_has(t), "otherwise", t->otherwise));
	json_object_set_new(root, "libraries", libs);
	json_object_set_new(root, "librdkafka", traits);
	json_object_set_new(root, "algorithms", algorithms);
	json_object_set_new(root, "statement", statement());
	int failed = json_dumpf(root, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(root);
	return failed ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
}

static int run(int argc, char **argv)
{
	const struct kveil_command *cmd = &kveil_command_version;
	const struct kveil_flag *f;
	const char *value;
	bool json = false, algorithms = false;
	int index = 1;
	struct kveil_error err;

	while ((f = kveil_flag_next(cmd, argc, argv, &index, &value))) {
		if (f == &kveil_flag_help)
			return KVEIL_EXIT_OK;
		if (f == &kveil_flag_error)
			return KVEIL_EXIT_USAGE;
		json |= strcmp(f->long_name, "json") == 0;
		algorithms |= strcmp(f->long_name, "algorithms") == 0;
	}
	if (index < argc)
		return kveil_usage_error(cmd, "no argument expected: '%s'", argv[index]);
	if (kveil_crypto_init(&err)) {
		fprintf(stderr, "kveil version: %s\n", err.message);
		return KVEIL_EXIT_FAILED;
	}
	const struct library libraries[] = {
	    {"librdkafka", kveil_kafka_version()},
	    {"OpenSSL", kveil_crypto_openssl_version()},
	    {"libgcrypt", kveil_gcrypt_version()},
	    {"libyaml", kveil_yaml_library_version()},
	    {"PCRE2", kveil_rules_pcre2_version()},
	    {"utf8proc", kveil_grapheme_library_version()},
	    {"Unicode (utf8proc)", kveil_grapheme_unicode_version()},
	    {"libmicrohttpd", kveil_http_library_version()},
	    {"jansson", jansson_version_str()},
	    {"libcurl", kveil_curl_version()},
	    {0},
	};
	if (json)
		return print_json(libraries);
	if (algorithms)
		print_statement();
	else
		print_text(libraries);
	return KVEIL_EXIT_OK;
}

static const struct kveil_flag flags[] = {
    {0, "json", NULL, "as JSON"},
    {0, "algorithms", NULL, "print which library runs each algorithm, by which standard and in which mode"},
    {0},
};

const struct kveil_command kveil_command_version = {
    .name = "version",
    .usage = "[--json] [--algorithms]",
    .help = "print the versions of kveil and its libraries, and the available algorithms",
    .flags = flags,
    .run = run,
};
