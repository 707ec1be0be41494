/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/library.h"

#include <librdkafka/rdkafka.h>

const char *kveil_worker_rdkafka_version(void)
{
	return rd_kafka_version_str();
}
