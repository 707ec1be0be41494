// SPDX-License-Identifier: Apache-2.0
// Reads what Kafka Connect writes with Kafka's own JsonConverter, or with the converter of a class and NAME=VALUE settings
// in the arguments. Each line of the input is base64 of a record's key or value;
// each line of the output a scalar in it: its path, type, whether it is optional, semantic name and value. A line "--"
// ends a record, and one that is refused begins with "!".
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.storage.Converter;

public final class ReadConnect {
    public static void main(String[] args) throws Exception {
        Map<String, String> settings = new HashMap<>(Map.of("schemas.enable", "true", "schemas.cache.size", "100"));
        for (int i = 1; i < args.length; i++)
            settings.put(args[i].substring(0, args[i].indexOf('=')), args[i].substring(args[i].indexOf('=') + 1));
        Converter converter = args.length == 0 ? new JsonConverter()
            : (Converter) Class.forName(args[0]).getDeclaredConstructor().newInstance();
        converter.configure(settings, false);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            try {
                SchemaAndValue v = converter.toConnectData("t", Base64.getDecoder().decode(line));
                print("$", v.schema(), v.value());
            } catch (RuntimeException e) {
                System.out.println("!" + e);
            }
            System.out.println("--");
        }
    }

    private static void print(String path, Schema schema, Object value) {
        if (value instanceof Struct s && schema.type() == Schema.Type.STRUCT) {
            s.validate();
            for (Field f : schema.fields())
                print(path + "." + f.name(), f.schema(), s.get(f));
        } else if (value instanceof List<?> list) {
            for (int i = 0; i < list.size(); i++)
                print(path + "[" + i + "]", schema.valueSchema(), list.get(i));
        } else if (value instanceof Map<?, ?> map) {
            for (Map.Entry<?, ?> e : map.entrySet())
                print(path + "." + e.getKey(), schema.valueSchema(), e.getValue());
        } else {
            String text = value instanceof java.nio.ByteBuffer b ? Base64.getEncoder().encodeToString(b.array())
                : value instanceof byte[] b ? Base64.getEncoder().encodeToString(b) : String.valueOf(value);
            System.out.println(path + "\t" + schema.type() + "\t" + schema.isOptional() + "\t" + schema.name() + "\t"
                + schema.defaultValue() + "\t" + text);
        }
    }
}
