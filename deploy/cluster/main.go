// SPDX-License-Identifier: Apache-2.0
// Kubernetes' API with its store, and kubectl, in one program: what deploy/cluster.py types docs/operations.md's lines against.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	which := os.Args[1]
	os.Args = append([]string{which}, os.Args[2:]...)
	switch which {
	case "etcd":
		etcdmain.Main(os.Args)
	case "apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	default:
		os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
	}
}
