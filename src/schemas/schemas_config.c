/* SPDX-License-Identifier: Apache-2.0 */
/* The options of schema_registry. */
#include "schemas/schemas_config.h"

#include "base/http_request.h"

#include <stdlib.h>
#include <sys/stat.h>

#define AT(member) offsetof(struct kveil_schemas_config, member)

const struct kveil_option kveil_schemas_options[] = {
    {"url", KVEIL_OPT_LIST, AT(urls), .max = 16,
     .help = "addresses of the registry, such as https://host:8081, tried in order. For Apicurio "
	     "append `/apis/ccompat/v7`"},
    {"username", KVEIL_OPT_STRING, AT(username), .help = "for HTTP basic authentication, with `password`"},
    {"password", KVEIL_OPT_STRING, AT(password), .secret = true, .source = AT(password_source),
     .help = "with `username`; a `${file:PATH}` is read again when the password is refused"},
    {"bearer_token", KVEIL_OPT_STRING, AT(bearer_token), .secret = true, .source = AT(bearer_token_source),
     .help = "a token instead; a `${file:PATH}` is read again when the token is refused"},
    {"ca_file", KVEIL_OPT_STRING, AT(ca_file), .help = "PEM certificates to trust instead of the system's"},
    {"certificate", KVEIL_OPT_STRING, AT(certificate),
     .help = "PEM file of the certificate that kveil shows the registry (mutual TLS)"},
    {"private_key", KVEIL_OPT_STRING, AT(private_key), .help = "PEM file of its private key, not encrypted"},
    {"timeout", KVEIL_OPT_DURATION, AT(timeout_ms), .def = "5s", .min = 100, .max = 30000, .help = "for one request"},
    {0},
};

struct checker {
	const struct kveil_yaml *node;
	const char *file;
	struct kveil_report *report;
};

/* At the option if it is written, else at the mapping. */
static void place(const struct checker *k, const char *option, uint32_t *line, uint32_t *column)
{
	const struct kveil_yaml *y =
	    k->node && k->node->kind == KVEIL_YAML_MAP ? kveil_yaml_get(k->node, option) : NULL;

	y = y ? y : k->node;
	*line = y ? y->line : 0;
	*column = y ? y->column : 0;
}

static struct kveil_error *complain(const struct checker *k, const char *option, const char *message)
{
	uint32_t line, column;

	place(k, option, &line, &column);
	return kveil_report_at(k->report, k->file, line, column, "schema_registry.%s: %s", option, message);
}

static struct kveil_error *warn(const struct checker *k, const char *option, const char *message)
{
	uint32_t line, column;

	place(k, option, &line, &column);
	return kveil_report_warn_at(k->report, k->file, line, column, "schema_registry.%s: %s", option, message);
}

static void check_url(const struct checker *k, const struct kveil_schemas_config *c, const char *url)
{
	switch (kveil_http_url_kind(url)) {
	case KVEIL_HTTP_URL_BAD:
		kveil_error_hint(complain(k, "url", "not an address of a server"), "https://registry:8081");
		break;
	case KVEIL_HTTP_URL_CREDENTIALS:
		kveil_error_hint(complain(k, "url", "a user or password does not belong into an address"),
				 "username: …, password: \"${file:PATH}\"");
		break;
	case KVEIL_HTTP_URL_CLEAR:
		if (c->password || c->bearer_token)
			kveil_error_hint(warn(k, "url", "the credentials go unencrypted over the network"),
					 "https://, with ca_file where the certificate is of your own authority");
		break;
	case KVEIL_HTTP_URL_LOOPBACK:
	case KVEIL_HTTP_URL_TLS:
		break;
	}
}

static void check_key_mode(const struct checker *k, const char *name)
{
	char *path = kveil_options_resolve_path(name, k->file);
	struct stat st;

	if (path && stat(path, &st) == 0 && st.st_mode & S_IROTH)
		kveil_error_hint(warn(k, "private_key", "every user of this host can read it"), "chmod o-r, or 0400");
	free(path);
}

void kveil_schemas_config_check(struct kveil_schemas_config *c, const struct kveil_yaml *node, const char *file,
				struct kveil_report *report)
{
	const struct checker k = {node, file, report};

	c->file = file;
	if (!c->urls && node && !kveil_yaml_is_null(node))
		kveil_error_hint(complain(&k, "url", "there is none"), "url: https://registry:8081");
	for (size_t i = 0; c->urls && c->urls[i]; i++)
		check_url(&k, c, c->urls[i]);
	if (!c->username != !c->password)
		complain(&k, c->username ? "username" : "password", "username and password go together");
	if (c->password && c->bearer_token)
		complain(&k, "bearer_token", "one way to log in: this, or username and password");
	if (!c->certificate != !c->private_key)
		complain(&k, c->certificate ? "certificate" : "private_key", "certificate and private_key go together");
	if (c->private_key)
		check_key_mode(&k, c->private_key);
}
