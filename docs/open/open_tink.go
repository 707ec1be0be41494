// SPDX-License-Identifier: Apache-2.0

// Opens one field that kveil sealed, with Google Tink:
//
//	kveil keys export -c kveil.yaml --tink pii --clear > keyset.json
//	go run open_tink.go keyset.json "orders:\$['customer']['id_card']" AXl0Zb4AAAAB...
//
// Once: go mod init open && go mod tidy
package main

import (
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/daead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(file))
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := base64.StdEncoding.DecodeString(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	var clear []byte
	if strings.Contains(handle.String(), "AesSivKey") {
		opener, err := daead.New(handle)
		if err != nil {
			log.Fatal(err)
		}
		clear, err = opener.DecryptDeterministically(sealed, []byte(os.Args[2]))
		if err != nil {
			log.Fatal(err)
		}
	} else {
		opener, err := aead.New(handle)
		if err != nil {
			log.Fatal(err)
		}
		clear, err = opener.Decrypt(sealed, []byte(os.Args[2]))
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(string(clear))
}
