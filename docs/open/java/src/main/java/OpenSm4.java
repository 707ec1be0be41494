// SPDX-License-Identifier: Apache-2.0
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Base64;
import org.bouncycastle.crypto.engines.SM4Engine;
import org.bouncycastle.crypto.modes.GCMBlockCipher;
import org.bouncycastle.crypto.modes.GCMModeCipher;
import org.bouncycastle.crypto.params.AEADParameters;
import org.bouncycastle.crypto.params.KeyParameter;

/**
 * Opens one field that kveil sealed under an sm4-gcm key, with Bouncy Castle. The bytes are laid out as Tink's AES-GCM: 0x01 |
 * key id (4) | nonce (12) | ciphertext | tag (16); RFC 8998.
 *
 * <pre>
 * kveil keys export -c kveil.yaml --tink pii-cn --clear > keyset.json
 * java … OpenSm4 keyset.json "customers:\$['id_card']" AXl0Zb4AAAAB...
 * </pre>
 */
public final class OpenSm4 {
  public static void main(String[] args) throws Exception {
    byte[] sealed = Base64.getDecoder().decode(args[2]);
    int id = ByteBuffer.wrap(sealed, 1, 4).getInt();
    byte[] key = null;
    JsonObject keyset = JsonParser.parseString(Files.readString(Path.of(args[0]))).getAsJsonObject();
    for (JsonElement e : keyset.getAsJsonArray("key")) {
      JsonObject entry = e.getAsJsonObject();
      if ((int) entry.get("keyId").getAsLong() == id) {
        key = keyBytes(entry.getAsJsonObject("keyData"));
      }
    }
    if (sealed[0] != 1 || key == null) {
      throw new IllegalArgumentException("the keyset has no such key");
    }
    GCMModeCipher opener = GCMBlockCipher.newInstance(new SM4Engine());
    opener.init(false, new AEADParameters(new KeyParameter(key), 128, Arrays.copyOfRange(sealed, 5, 17),
        args[1].getBytes(StandardCharsets.UTF_8)));
    byte[] clear = new byte[opener.getOutputSize(sealed.length - 17)];
    int n = opener.processBytes(sealed, 17, sealed.length - 17, clear, 0);
    opener.doFinal(clear, n);
    System.out.println(new String(clear, StandardCharsets.UTF_8));
  }

  /** The key's protobuf message is its field 3 and nothing else: 0x1a, the length 16, the key. */
  private static byte[] keyBytes(JsonObject keyData) {
    byte[] message = Base64.getDecoder().decode(keyData.get("value").getAsString());
    if (!keyData.get("typeUrl").getAsString().equals("kveil/sm4-gcm") || message.length != 18 || message[0] != 0x1a) {
      throw new IllegalArgumentException("the keyset is not of an sm4-gcm key");
    }
    return Arrays.copyOfRange(message, 2, 18);
  }
}
