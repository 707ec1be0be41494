// SPDX-License-Identifier: Apache-2.0
// Apache Avro as an oracle. A line of the input asks, a line of the output answers; what it refuses begins with "!". Words
// stand between tabs:
//   write SEED SCHEMA        a random value: its bytes in base64 and as JSON
//   read SCHEMA BASE64       the value as JSON
//   fits READER WRITER       "yes", or why a reader with the one schema cannot read what was written with the other
// In JSON bytes and fixed are {"hex": …}, floats are texts, and no branch of a union is named.
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.SchemaCompatibility.SchemaCompatibilityType;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericFixed;
import org.apache.avro.generic.IndexedRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.util.RandomData;

public final class ApacheAvro {
    public static void main(String[] args) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split("\t");
            try {
                System.out.println(switch (words[0]) {
                    case "write" -> write(Integer.parseInt(words[1]), parse(words[2]));
                    case "read" -> read(parse(words[1]), Base64.getDecoder().decode(words.length > 2 ? words[2] : ""));
                    default -> fits(parse(words[1]), parse(words[2]));
                });
            } catch (RuntimeException | IOException e) {
                System.out.println("!" + e.toString().replace('\n', ' '));
            }
        }
    }

    private static Schema parse(String text) {
        return new Schema.Parser().setValidateDefaults(true).parse(text);
    }

    // Every other seed writes blocks with their sizes.
    private static String write(int seed, Schema schema) throws IOException {
        Object value = new RandomData(schema, 1, seed).iterator().next();
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        BinaryEncoder to = seed % 2 == 0 ? EncoderFactory.get().binaryEncoder(bytes, null)
            : new EncoderFactory().configureBlockSize(64).blockingBinaryEncoder(bytes, null);
        new GenericDatumWriter<>(schema).write(value, to);
        to.flush();
        return Base64.getEncoder().encodeToString(bytes.toByteArray()) + "\t" + json(value);
    }

    private static String read(Schema schema, byte[] bytes) throws IOException {
        BinaryDecoder from = DecoderFactory.get().binaryDecoder(bytes, null);
        Object value = new GenericDatumReader<>(schema).read(null, from);
        return from.isEnd() ? json(value) : "!bytes are left";
    }

    private static String fits(Schema reader, Schema writer) {
        var pair = SchemaCompatibility.checkReaderWriterCompatibility(reader, writer);
        return pair.getType() == SchemaCompatibilityType.COMPATIBLE ? "yes"
            : pair.getResult().getIncompatibilities().toString().replace('\n', ' ');
    }

    private static String json(Object value) {
        if (value instanceof IndexedRecord r)
            return r.getSchema().getFields().stream().map(f -> text(f.name()) + ":" + json(r.get(f.pos())))
                .collect(Collectors.joining(",", "{", "}"));
        if (value instanceof Map<?, ?> m)
            return m.entrySet().stream().map(e -> text(e.getKey()) + ":" + json(e.getValue())).collect(Collectors.joining(",", "{", "}"));
        if (value instanceof List<?> l)
            return l.stream().map(ApacheAvro::json).collect(Collectors.joining(",", "[", "]"));
        if (value instanceof ByteBuffer b)
            return hex(b.array());
        if (value instanceof GenericFixed f)
            return hex(f.bytes());
        return value == null || value instanceof Integer || value instanceof Long || value instanceof Boolean ? String.valueOf(value)
            : text(value);
    }

    private static String hex(byte[] bytes) {
        return "{\"hex\":\"" + HexFormat.of().formatHex(bytes) + "\"}";
    }

    private static String text(Object value) {
        return value.toString().chars().mapToObj(c -> c < ' ' || c > '~' || c == '"' || c == '\\' ? String.format("\\u%04x", c) : String.valueOf((char) c))
            .collect(Collectors.joining("", "\"", "\""));
    }
}
