/* SPDX-License-Identifier: Apache-2.0 */
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import javax.crypto.Cipher;
import javax.crypto.Mac;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** JavaLoop BOOTSTRAP INPUT OUTPUT GROUP: what a good engineer writes in an afternoon, with Jackson and JCE, on one thread. */
public final class JavaLoop {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final long COMMIT_NANOS = 1_000_000_000L;

    private final SecretKeySpec key = new SecretKeySpec(random(32), "AES");
    private final Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
    private final Mac mac = Mac.getInstance("HmacSHA256");
    private volatile Exception failure;

    private JavaLoop() throws Exception {
        mac.init(new SecretKeySpec(random(32), "HmacSHA256"));
    }

    private static byte[] random(int length) {
        byte[] b = new byte[length];
        RANDOM.nextBytes(b);
        return b;
    }

    private String encrypt(String text) throws Exception {
        byte[] iv = random(12);
        cipher.init(Cipher.ENCRYPT_MODE, key, new GCMParameterSpec(128, iv));
        byte[] sealed = cipher.doFinal(text.getBytes(StandardCharsets.UTF_8));
        return Base64.getEncoder().encodeToString(ByteBuffer.allocate(12 + sealed.length).put(iv).put(sealed).array());
    }

    private String hash(String text) {
        return HexFormat.of().formatHex(mac.doFinal(text.getBytes(StandardCharsets.UTF_8)));
    }

    private static String mask(String text) {
        return text.substring(0, 3) + "*".repeat(text.length() - 7) + text.substring(text.length() - 4);
    }

    private byte[] protect(byte[] value) throws Exception {
        ObjectNode order = (ObjectNode) JSON.readTree(value);
        ObjectNode customer = (ObjectNode) order.get("customer");
        customer.put("id_card", encrypt(customer.get("id_card").textValue()));
        customer.put("phone", mask(customer.get("phone").textValue()));
        customer.put("email", hash(customer.get("email").textValue()));
        order.put("card_number", encrypt(order.get("card_number").textValue()));
        return JSON.writeValueAsBytes(order);
    }

    private void run(String bootstrap, String input, String output, String group) throws Exception {
        Map<String, Object> in = Map.of("bootstrap.servers", bootstrap, "group.id", group, "auto.offset.reset", "earliest",
                "enable.auto.commit", false, "max.poll.records", 1000, "fetch.max.bytes", 8388608,
                "max.partition.fetch.bytes", 4194304);
        Map<String, Object> out = Map.of("bootstrap.servers", bootstrap, "enable.idempotence", true, "acks", "all",
                "linger.ms", 5, "batch.size", 1000000, "buffer.memory", 54613L * 1024);
        try (var consumer = new KafkaConsumer<>(in, new ByteArrayDeserializer(), new ByteArrayDeserializer());
                var producer = new KafkaProducer<>(out, new ByteArraySerializer(), new ByteArraySerializer())) {
            consumer.subscribe(List.of(input));
            for (long last = System.nanoTime();;) {
                ConsumerRecords<byte[], byte[]> batch = consumer.poll(Duration.ofMillis(100));
                for (ConsumerRecord<byte[], byte[]> r : batch) {
                    producer.send(new ProducerRecord<>(output, r.partition(), r.timestamp(), r.key(), protect(r.value()), r.headers()),
                            (metadata, e) -> { if (e != null) failure = e; });
                }
                if (System.nanoTime() - last < COMMIT_NANOS)
                    continue;
                producer.flush();
                if (failure != null)
                    throw failure;
                consumer.commitSync();
                last = System.nanoTime();
            }
        }
    }

    public static void main(String[] args) throws Exception {
        new JavaLoop().run(args[0], args[1], args[2], args[3]);
    }
}
