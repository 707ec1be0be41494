/* SPDX-License-Identifier: Apache-2.0 */
/* worker/library.h: which librdkafka this is. */
#ifndef KVEIL_WORKER_LIBRARY_H
#define KVEIL_WORKER_LIBRARY_H

const char *kveil_worker_rdkafka_version(void); /* "2.0.2" */

#endif
