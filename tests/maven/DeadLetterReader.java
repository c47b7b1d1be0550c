import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.MockProducer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.DeadLetterPublishingRecoverer;
import org.springframework.kafka.listener.ListenerExecutionFailedException;
import org.springframework.kafka.support.KafkaHeaders;

/**
 * Reads a dead letter of ours by the names that Spring Kafka has for its headers, and has Spring Kafka's own
 * recoverer make a dead letter of the same record, for comparison.
 *
 * Arguments: bootstrap servers, the dead letters' topic, the number of its partitions. Prints one line each:
 * "read NAME VALUE" for what it understood of our headers, "spring NAME HEX" for the headers that Spring sets.
 */
public class DeadLetterReader {
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    public static void main(String[] arguments) throws Exception {
        ConsumerRecord<byte[], byte[]> letter = first(arguments[0], arguments[1], Integer.parseInt(arguments[2]));
        Headers ours = letter.headers();
        String topic = text(ours, KafkaHeaders.DLT_ORIGINAL_TOPIC);
        int partition = ByteBuffer.wrap(bytes(ours, KafkaHeaders.DLT_ORIGINAL_PARTITION)).getInt();
        long offset = ByteBuffer.wrap(bytes(ours, KafkaHeaders.DLT_ORIGINAL_OFFSET)).getLong();
        long timestamp = ByteBuffer.wrap(bytes(ours, KafkaHeaders.DLT_ORIGINAL_TIMESTAMP)).getLong();
        TimestampType type = TimestampType.forName(text(ours, KafkaHeaders.DLT_ORIGINAL_TIMESTAMP_TYPE));
        say("read", "topic", topic);
        say("read", "partition", partition);
        say("read", "offset", offset);
        say("read", "timestamp", timestamp);
        say("read", "timestamp-type", type);
        say("read", "consumer-group", text(ours, KafkaHeaders.DLT_ORIGINAL_CONSUMER_GROUP));
        say("read", "exception-fqcn", text(ours, KafkaHeaders.DLT_EXCEPTION_FQCN));
        say("read", "exception-cause-fqcn", text(ours, KafkaHeaders.DLT_EXCEPTION_CAUSE_FQCN));
        say("read", "exception-message", text(ours, KafkaHeaders.DLT_EXCEPTION_MESSAGE));
        say("read", "exception-stacktrace", text(ours, KafkaHeaders.DLT_EXCEPTION_STACKTRACE).lines().count());
        say("read", "letter-partition", letter.partition());

        ConsumerRecord<byte[], byte[]> failed = new ConsumerRecord<>(topic, partition, offset, timestamp, type,
            -1, -1, letter.key(), letter.value(), new RecordHeaders(), java.util.Optional.empty());
        for (Header header : recovered(failed, text(ours, KafkaHeaders.DLT_ORIGINAL_CONSUMER_GROUP))) {
            say("spring", header.key(), hex(header.value()));
        }
    }

    private static ConsumerRecord<byte[], byte[]> first(String servers, String topic, int partitions) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", servers);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(java.util.stream.IntStream.range(0, partitions)
                .mapToObj(number -> new TopicPartition(topic, number)).toList());
            for (var found : consumer.poll(PATIENCE)) {
                return found;
            }
        }
        throw new IllegalStateException("no dead letter came within " + PATIENCE);
    }

    /** Returns the headers that Spring Kafka's recoverer gives a record that could not be applied. */
    private static Headers recovered(ConsumerRecord<byte[], byte[]> failed, String group) {
        var mock = new MockProducer<>(true, null, new ByteArraySerializer(), new ByteArraySerializer());
        var template = new KafkaTemplate<byte[], byte[]>(new DefaultKafkaProducerFactory<>(Map.of()) {
            @Override
            public org.apache.kafka.clients.producer.Producer<byte[], byte[]> createProducer() {
                return mock;
            }
        });
        var recoverer = new DeadLetterPublishingRecoverer(template,
            (record, failure) -> new TopicPartition("dlt-" + record.topic(), record.partition()));
        recoverer.setVerifyPartition(false);
        recoverer.setFailIfSendResultIsError(false);
        recoverer.accept(failed, new ListenerExecutionFailedException("it failed", group,
            new IllegalStateException("the product is frozen")));
        return mock.history().get(0).headers();
    }

    private static byte[] bytes(Headers headers, String name) {
        return headers.lastHeader(name).value();
    }

    private static String text(Headers headers, String name) {
        return new String(bytes(headers, name), StandardCharsets.UTF_8);
    }

    private static String hex(byte[] value) {
        return java.util.HexFormat.of().formatHex(value);
    }

    private static void say(String kind, String name, Object value) {
        System.out.println(kind + "\t" + name + "\t" + value);
    }
}
