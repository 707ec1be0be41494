// SPDX-License-Identifier: Apache-2.0
// Apicurio's serializers for Kafka, with NAME=VALUE settings in the arguments. A line of the input asks, a line of the output
// answers; what is refused begins with "!". Words stand between tabs:
//   write TOPIC SCHEMA JSON     a value in Avro's JSON encoding: the message's value in base64
//   read TOPIC BASE64           the value in Avro's JSON encoding
import io.apicurio.registry.serde.avro.AvroKafkaDeserializer;
import io.apicurio.registry.serde.avro.AvroKafkaSerializer;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.io.JsonEncoder;

public final class ApicurioSerde {
    public static void main(String[] args) throws IOException {
        Map<String, Object> settings = new HashMap<>();
        for (String arg : args)
            settings.put(arg.substring(0, arg.indexOf('=')), arg.substring(arg.indexOf('=') + 1));
        AvroKafkaSerializer<GenericRecord> to = new AvroKafkaSerializer<>();
        AvroKafkaDeserializer<GenericRecord> from = new AvroKafkaDeserializer<>();
        to.configure(settings, false);
        from.configure(settings, false);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split("\t");
            try {
                System.out.println(words[0].equals("write")
                    ? Base64.getEncoder().encodeToString(to.serialize(words[1], read(new Schema.Parser().parse(words[2]), words[3])))
                    : json(from.deserialize(words[1], Base64.getDecoder().decode(words[2]))));
            } catch (RuntimeException | IOException e) {
                System.out.println("!" + e.toString().replace('\n', ' '));
            }
        }
    }

    private static GenericRecord read(Schema schema, String text) throws IOException {
        return new GenericDatumReader<GenericRecord>(schema).read(null, DecoderFactory.get().jsonDecoder(schema, text));
    }

    private static String json(GenericRecord value) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        JsonEncoder to = EncoderFactory.get().jsonEncoder(value.getSchema(), out);
        new GenericDatumWriter<GenericRecord>(value.getSchema()).write(value, to);
        to.flush();
        return out.toString(StandardCharsets.UTF_8);
    }
}
