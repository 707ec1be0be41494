// SPDX-License-Identifier: Apache-2.0
import com.google.crypto.tink.Aead;
import com.google.crypto.tink.DeterministicAead;
import com.google.crypto.tink.InsecureSecretKeyAccess;
import com.google.crypto.tink.KeysetHandle;
import com.google.crypto.tink.RegistryConfiguration;
import com.google.crypto.tink.TinkJsonProtoKeysetFormat;
import com.google.crypto.tink.aead.AeadConfig;
import com.google.crypto.tink.daead.DeterministicAeadConfig;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Security;
import java.util.Base64;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/**
 * Opens one field that kveil sealed, with Google Tink.
 *
 * <pre>
 * kveil keys export -c kveil.yaml --tink pii --clear > keyset.json
 * java … OpenTink keyset.json "orders:\$['customer']['id_card']" AXl0Zb4AAAAB...
 * </pre>
 */
public final class OpenTink {
  public static void main(String[] args) throws Exception {
    Security.addProvider(new BouncyCastleProvider()); // for AES-GCM-SIV, which the JDK lacks
    AeadConfig.register();
    DeterministicAeadConfig.register();
    KeysetHandle keys =
        TinkJsonProtoKeysetFormat.parseKeyset(Files.readString(Path.of(args[0])), InsecureSecretKeyAccess.get());
    byte[] associatedData = args[1].getBytes(StandardCharsets.UTF_8);
    byte[] sealed = Base64.getDecoder().decode(args[2]);
    byte[] clear;
    if (keys.getKeysetInfo().getKeyInfo(0).getTypeUrl().endsWith("AesSivKey")) {
      clear = keys.getPrimitive(RegistryConfiguration.get(), DeterministicAead.class)
          .decryptDeterministically(sealed, associatedData);
    } else {
      clear = keys.getPrimitive(RegistryConfiguration.get(), Aead.class).decrypt(sealed, associatedData);
    }
    System.out.println(new String(clear, StandardCharsets.UTF_8));
  }
}
