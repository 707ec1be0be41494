// SPDX-License-Identifier: Apache-2.0
// Reads change events with the deserializers of Flink's flink-json. The arguments are the kind of event, and its columns
// as name:TYPE. Each line of the input is base64 of a record's value; each line of the output a change that Flink takes
// from it: +I, -U, +U or -D, and the columns. A line "--" ends a record, and one that is refused begins with "!".
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.formats.common.TimestampFormat;
import org.apache.flink.formats.json.canal.CanalJsonDeserializationSchema;
import org.apache.flink.formats.json.debezium.DebeziumJsonDeserializationSchema;
import org.apache.flink.formats.json.maxwell.MaxwellJsonDeserializationSchema;
import org.apache.flink.formats.json.ogg.OggJsonDeserializationSchema;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.DataType;
import org.apache.flink.util.Collector;

public final class ReadFlink {
    public static void main(String[] args) throws Exception {
        List<String[]> columns = Arrays.stream(args).skip(1).map(a -> a.split(":")).toList();
        DataType row = DataTypes.ROW(columns.stream().map(c -> DataTypes.FIELD(c[0], type(c[1]))).toArray(DataTypes.Field[]::new));
        DeserializationSchema<RowData> reader = reader(args[0], row);
        reader.open(null);
        Printer printer = new Printer(row);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            try {
                reader.deserialize(line.isEmpty() ? null : Base64.getDecoder().decode(line), printer);
            } catch (Exception e) {
                System.out.println("!" + e + " " + e.getCause());
            }
            System.out.println("--");
        }
    }

    private static DataType type(String name) {
        return switch (name) {
            case "INT" -> DataTypes.INT();
            case "DOUBLE" -> DataTypes.DOUBLE();
            case "BOOLEAN" -> DataTypes.BOOLEAN();
            default -> DataTypes.STRING();
        };
    }

    private static DeserializationSchema<RowData> reader(String kind, DataType row) {
        TypeInformation<RowData> produced = TypeInformation.of(RowData.class);
        TimestampFormat format = TimestampFormat.SQL;
        return switch (kind) {
            case "canal" -> CanalJsonDeserializationSchema.builder(row, List.of(), produced).build();
            case "maxwell" -> new MaxwellJsonDeserializationSchema(row, List.of(), produced, false, format);
            case "ogg" -> new OggJsonDeserializationSchema(row, List.of(), produced, false, format);
            default -> new DebeziumJsonDeserializationSchema(row, List.of(), produced, kind.endsWith("+schema"), false, format);
        };
    }

    private record Printer(DataType type) implements Collector<RowData> {
        @Override
        public void collect(RowData r) {
            StringBuilder text = new StringBuilder(r.getRowKind().shortString());
            for (int i = 0; i < r.getArity(); i++)
                text.append('\t').append(RowData.createFieldGetter(type.getLogicalType().getChildren().get(i), i).getFieldOrNull(r));
            System.out.println(text);
        }

        @Override
        public void close() {
        }
    }
}
